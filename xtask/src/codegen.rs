//! `cargo xtask codegen`: will build the eBPF object from `probes-ebpf`. There are no programs yet, so it fails.

use crate::{Failure, Outcome};

const MISSING: &str = "\
codegen: there is no eBPF object to build: it comes with the probes. Missing:

  - programs: probes-ebpf is a skeleton that builds for the host only
  - the loader, the kernel layout from BTF and the place of the object: probes, probes/bpf
  - this chore's own steps: a compiler with `core` for bpfel-unknown-none, bpf-linker, the hash of the sources

Nothing was built.";

pub(crate) fn run() -> Outcome {
    eprintln!("{MISSING}");
    Err(Failure::Found)
}
