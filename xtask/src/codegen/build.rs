//! Builds the object so that the same sources and tools give the same bytes in every directory.
//!
//! Cargo hashes the directory of a path dependency, and its own version, into the `metadata` of
//! each crate, and the compiler puts that into symbol names. Therefore this program runs as the
//! compiler's wrapper ([`as_compiler`]): it replaces each crate's `metadata` by its name and
//! version, and adds options that remove paths.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::toolchain::Toolchain;
use super::{TARGET, visible_path};
use crate::Failure;

/// Binary of probes-ebpf.
const BINARY: &str = "zctrace-bpf";

/// Environment variable for the compiler's runs: the repository's directory.
const ROOT: &str = "ZCTRACE_CODEGEN_ROOT";
/// Environment variable for the compiler's runs: the directory with its LLVM.
const LLVM: &str = "ZCTRACE_CODEGEN_LLVM";

/// Builds the object and returns its path.
pub(super) fn build(root: &Path, tools: &Toolchain) -> Result<PathBuf, Failure> {
    let folder = root.join("target/codegen");
    // Cargo notices neither a change of the compiler options added below nor another linker, so
    // everything for the target is rebuilt.
    if folder.join(TARGET).exists() {
        fs::remove_dir_all(folder.join(TARGET))?;
    }
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--bin", BINARY, "--target", TARGET]);
    cargo
        .arg("--target-dir")
        .arg(&folder)
        .current_dir(root.join("probes-ebpf"));
    // The variables of this run are meant for the workspace.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let foreign = [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_INCREMENTAL",
        ];
        if foreign.contains(&name.as_str()) || name.starts_with("CARGO_PROFILE_") || name.starts_with("CARGO_TARGET_") {
            cargo.env_remove(name);
        }
    }
    cargo.env("RUSTC", &tools.rustc);
    cargo.env("RUSTC_WRAPPER", env::current_exe()?);
    // aya-ebpf uses unstable features of the compiler.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker);
    cargo.env(ROOT, root).env(LLVM, &tools.llvm);
    eprintln!("+ RUSTC={} {}", tools.rustc.display(), shown(&cargo));
    let status = cargo.status()?;
    if !status.success() {
        return Err(Failure::Broken(format!(
            "the eBPF programs cannot be built: cargo build: {status}"
        )));
    }
    Ok(folder.join(TARGET).join("release").join(BINARY))
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    format!("cargo {}", words.join(" "))
}

/// Runs as the compiler's wrapper if cargo has started this program as that, which [`build`]
/// arranges.
pub(crate) fn as_compiler() -> Option<ExitCode> {
    let root = PathBuf::from(env::var_os(ROOT)?);
    let llvm = PathBuf::from(env::var_os(LLVM)?);
    let mut arguments = env::args_os().skip(1);
    let compiler = arguments.next()?;
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Command::new(&compiler);
    // Programs that cargo runs during the build (macros, build scripts) are not changed.
    if arguments.iter().any(|argument| argument == TARGET)
        && arguments.iter().any(|argument| argument == "--crate-name")
    {
        command.args(reproducible(&arguments, &root));
    } else {
        command.args(arguments);
    }
    command.env("LD_LIBRARY_PATH", library_path(&llvm));
    match command.status() {
        Ok(status) => Some(ExitCode::from(status.code().map_or(1, |code| code as u8))),
        Err(error) => {
            eprintln!("xtask: {}: {error}", compiler.display());
            Some(ExitCode::FAILURE)
        }
    }
}

/// Returns the library path with this directory first.
pub(super) fn library_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(others) = env::var_os("LD_LIBRARY_PATH") {
        path.push(":");
        path.push(others);
    }
    path
}

/// Returns the compiler's arguments without machine-dependent ones.
fn reproducible(arguments: &[OsString], root: &Path) -> Vec<OsString> {
    let name = |variable: &str| env::var(variable).unwrap_or_default();
    // The version of a package in the repository changes with each release and must not matter.
    let own = env::var_os("CARGO_MANIFEST_DIR").is_some_and(|folder| Path::new(&folder).starts_with(root));
    let version = if own { String::new() } else { name("CARGO_PKG_VERSION") };
    let mut changed = with_metadata(arguments, &format!("{}-{version}", name("CARGO_PKG_NAME")));
    changed.extend(["-C", "debuginfo=0", "-Z", "location-detail=none"].map(OsString::from));
    for (folder, shown) in [(Some(root.to_owned()), "/zctrace"), (super::cargo_home(), "/cargo")] {
        if let Some(folder) = folder {
            changed.push(format!("--remap-path-prefix={}={shown}", visible_path(&folder)).into());
        }
    }
    changed
}

/// Returns the arguments with `metadata` as the value of `-C metadata`.
fn with_metadata(arguments: &[OsString], metadata: &str) -> Vec<OsString> {
    let change = |argument: &OsString| match argument.to_str() {
        Some(text) if text.starts_with("metadata=") => format!("metadata={metadata}").into(),
        Some(text) if text.starts_with("-Cmetadata=") => format!("-Cmetadata={metadata}").into(),
        _ => argument.clone(),
    };
    arguments.iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_replaced_in_both_spellings() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let cargos = words("--crate-name x -C metadata=0123 -C extra-filename=-45 -Cmetadata=67");
        assert_eq!(
            with_metadata(&cargos, "x-1"),
            words("--crate-name x -C metadata=x-1 -C extra-filename=-45 -Cmetadata=x-1")
        );
    }
}
