//! Fields that the programs need, resolved in the types of real kernels: found in all of them, with
//! the exceptions listed here.

use std::path::PathBuf;

use zctrace_probes::layout::btf::Btf;
use zctrace_probes::layout::offsets::{KernelOffsets, ProbeGroup};

fn offsets(kernel: &str) -> KernelOffsets {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/btf"));
    let btf = Btf::from_file(folder.join(format!("{kernel}.btf"))).expect("the extract is committed");
    KernelOffsets::from_btf(&btf).expect("an extract can be read")
}

/// Returns the missing fields in the words of the offsets' error.
fn missing(kernel: &str) -> Vec<String> {
    offsets(kernel).missing.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_missing_since_6_1() {
    for kernel in ["6.1", "6.12", "6.18"] {
        assert!(missing(kernel).is_empty(), "{kernel}: {:#?}", missing(kernel));
    }
}

/// 5.10 has no folios; its bios name a disk instead of a block device, its fragment flags are
/// elsewhere, and its `io_uring` has no zero-copy send.
#[test]
fn members_missing_in_5_10_are_named_and_calls_are_supported() {
    assert_eq!(
        missing("5.10"),
        [
            "this kernel's `io_kiocb` has no `cmd`",
            "this kernel has no type `io_notif_data`",
            "this kernel's `skb_shared_info` has no `flags`",
            "this kernel's `bio` has no `bi_bdev`",
            "this kernel has no type `folio`",
        ]
    );
    assert!(offsets("5.10").missing_for(ProbeGroup::Calls).is_none());
}
