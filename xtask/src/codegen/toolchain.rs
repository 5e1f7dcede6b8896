//! Which compiler and linker make the eBPF object, and how they are had.
//!
//! The compiler needs `core` for `bpfel-unknown-none` ready-made: rustup has none to offer, Debian's packages do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::TARGET;
use crate::Failure;
use crate::repo::output;

/// Debian's packages of a compiler that comes with `core` for the target.
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// The linker: the last version that takes the compiler's own LLVM instead of being linked with one.
const LINKER: &str = "bpf-linker@0.10.3";

/// How often something is tried that goes over the network.
const ATTEMPTS: u32 = 4;

/// What the object is made with.
#[derive(Debug)]
pub(super) struct Toolchain {
    pub(super) rustc: PathBuf,
    pub(super) linker: PathBuf,
    /// The folder that holds the compiler's own LLVM and nothing else, for the linker.
    pub(super) llvm: PathBuf,
}

impl Toolchain {
    /// Finds both, or installs what is missing if that is wished. The linker is always installed if there is none: it
    /// goes into the target folder and disturbs nobody.
    pub(super) fn find(root: &Path, install: bool) -> Result<Self, Failure> {
        let tools = root.join("target/tools");
        let rustc = match rustc() {
            Some(rustc) => rustc,
            None if install => {
                install_packages()?;
                rustc().ok_or_else(|| Failure::Broken(missing("the packages are installed, and still")))?
            }
            None => return Err(Failure::Broken(missing("to build the eBPF object:"))),
        };
        let llvm = tools.join("llvm");
        link_llvm(&rustc, &llvm)?;
        let linker = linker(&tools)?;
        Ok(Self { rustc, linker, llvm })
    }

    /// Names and versions, as the record has them.
    pub(super) fn versions(&self) -> Result<Vec<(String, String)>, Failure> {
        let said = output(Command::new(&self.rustc).arg("-vV"))?;
        let llvm = said.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let mut versions = vec![
            ("rustc".to_owned(), version(&said, "rustc")),
            ("llvm".to_owned(), llvm.unwrap_or("unknown").to_owned()),
        ];
        let said = output(
            Command::new(&self.linker)
                .arg("--version")
                .env("LD_LIBRARY_PATH", super::build::library_path(&self.llvm)),
        )?;
        versions.push(("bpf-linker".to_owned(), version(&said, "bpf-linker")));
        Ok(versions)
    }
}

/// What a program says after its name.
fn version(said: &str, name: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    first.strip_prefix(name).unwrap_or(first).trim().to_owned()
}

/// The first compiler that has `core` for the target.
fn rustc() -> Option<PathBuf> {
    candidates().into_iter().find(|rustc| has_core(rustc))
}

fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    found.extend(std::env::var_os("EBPF_RUSTC").map(PathBuf::from));
    if let Ok(toolchains) = output(Command::new("rustup").args(["toolchain", "list"])) {
        for toolchain in toolchains.lines().filter_map(|line| line.split_whitespace().next()) {
            let rustc = output(Command::new("rustup").args(["which", "--toolchain", toolchain, "rustc"]));
            found.extend(rustc.ok().map(|path| PathBuf::from(path.trim())));
        }
    }
    found.push(PathBuf::from("/usr/bin/rustc"));
    found
}

fn has_core(rustc: &Path) -> bool {
    let Ok(folder) = output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET])) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(folder.trim()) else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        let name = entry.file_name();
        name.to_string_lossy().starts_with("libcore-") && path.extension().is_some_and(|kind| kind == "rlib")
    })
}

fn missing(what: &str) -> String {
    format!(
        "{what} no compiler has `core` for {TARGET}. On Debian 12 or later, as root:\n\n    apt-get update\n    \
         apt-get install --no-install-recommends {}\n\nor `cargo xtask codegen --install`, which does just that. Another \
         compiler is named by EBPF_RUSTC.",
        PACKAGES.join(" ")
    )
}

fn install_packages() -> Result<(), Failure> {
    let root = output(Command::new("id").arg("-u"))?.trim() == "0";
    let apt = |arguments: &[&str]| {
        let mut words = if root {
            vec![]
        } else {
            vec!["sudo", "--non-interactive"]
        };
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive"]);
        words.extend(["apt-get", "-o", "DPkg::Lock::Timeout=600"]);
        words.extend(arguments);
        retry(|| visibly(Command::new(words[0]).args(&words[1..])))
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"][..], &PACKAGES].concat())
}

/// A folder with the compiler's LLVM alone: the linker takes the first that it finds on its way, which may be another
/// one, and then cannot read what the compiler wrote.
fn link_llvm(rustc: &Path, folder: &Path) -> Result<(), Failure> {
    let libraries = output(Command::new("ldd").arg(rustc))?;
    let library = libraries.lines().find_map(|line| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let path = rest.split_whitespace().next()?;
        name.starts_with("libLLVM").then(|| (name, PathBuf::from(path)))
    });
    let (name, path) = library.ok_or_else(|| {
        Failure::Broken(format!(
            "{} is not linked with a libLLVM.so that bpf-linker could use; name another compiler by EBPF_RUSTC",
            rustc.display()
        ))
    })?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    std::os::unix::fs::symlink(path, folder.join(name))?;
    Ok(())
}

fn linker(tools: &Path) -> Result<PathBuf, Failure> {
    if let Some(linker) = std::env::var_os("BPF_LINKER") {
        return Ok(linker.into());
    }
    let linker = tools.join("bin/bpf-linker");
    if !linker.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        retry(|| {
            let mut install = Command::new(&cargo);
            install.args(["install", LINKER, "--locked", "--root"]).arg(tools);
            // What this run was started with is for the workspace.
            install.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
            visibly(&mut install)
        })?;
    }
    Ok(linker)
}

/// Runs a program that says itself what it does.
fn visibly(command: &mut Command) -> Result<(), Failure> {
    eprintln!("+ {command:?}");
    let status = command
        .status()
        .map_err(|error| Failure::Broken(format!("{command:?}: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Broken(format!("{command:?}: {status}")))
    }
}

/// Tries again what goes over the network.
fn retry(mut attempt: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    for again in 1..ATTEMPTS {
        match attempt() {
            Err(Failure::Broken(why)) => eprintln!("attempt {again} failed: {why}"),
            ended => return ended,
        }
        thread::sleep(Duration::from_secs(10 * u64::from(again)));
    }
    attempt()
}
