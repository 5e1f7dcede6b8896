//! Compiler and linker of the eBPF object, and how they are installed.
//!
//! The compiler needs a prebuilt `core` for `bpfel-unknown-none`, which Debian's packages contain
//! and rustup's do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::TARGET;
use crate::Failure;
use crate::repo::output;

/// Debian's packages of a compiler with `core` for the target.
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// The linker: the last version that uses the compiler's own LLVM instead of a linked one.
const LINKER: &str = "bpf-linker@0.10.3";

/// Number of attempts for network operations.
const ATTEMPTS: u32 = 4;

/// Tools that build the object.
#[derive(Debug)]
pub(super) struct Toolchain {
    pub(super) rustc: PathBuf,
    pub(super) linker: PathBuf,
    /// Directory that contains only the compiler's own LLVM, for the linker.
    pub(super) llvm: PathBuf,
}

impl Toolchain {
    /// Finds both tools, or installs missing ones if requested. A missing linker is always
    /// installed: it goes into the target directory and affects nothing else.
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

    /// Returns names and versions in the form of the record.
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

/// Returns the output of a program's `--version`, without its name.
fn version(said: &str, name: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    first.strip_prefix(name).unwrap_or(first).trim().to_owned()
}

/// Returns the first compiler with `core` for the target.
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

/// Creates a directory with only the compiler's LLVM. The linker loads the first LLVM that it
/// finds, and another version could not read the compiler's output.
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
            // The variables of this run are meant for the workspace.
            install.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
            visibly(&mut install)
        })?;
    }
    Ok(linker)
}

/// Runs a program that prints its own progress.
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

/// Repeats a network operation until it succeeds.
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
