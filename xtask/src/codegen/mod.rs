//! `cargo xtask codegen`: builds the eBPF object from `probes-ebpf`. It is committed, so that users
//! need stable Rust only.
//!
//! The object is in `probes/bpf`, next to a record of its sources and tools ([`sources`]).
//! `--check` rebuilds it and compares the bytes. `--check-sources` compares the record with the
//! sources; it needs no compiler, and `cargo test` runs it. The build gives the same bytes in every
//! directory ([`build`]).

mod build;
mod object;
mod sources;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Failure, Outcome};
use sources::Record;
use toolchain::Toolchain;

pub(crate) use build::as_compiler;

/// The little-endian target, for x86-64 and aarch64.
const TARGET: &str = "bpfel-unknown-none";

const OBJECT: &str = "probes/bpf/zctrace.bpf.o";
const RECORD: &str = "probes/bpf/zctrace.bpf.sources";

/// Hint for most failures.
const MEND: &str = "run `cargo xtask codegen` and commit what it writes into probes/bpf";

/// Builds the object, checks the committed one, or installs the tools.
pub(crate) fn run(root: &Path, options: &[&str]) -> Outcome {
    let check = match options {
        [] => false,
        ["--check"] => true,
        ["--check-sources"] => return check_sources(root),
        ["--install"] => {
            for (tool, version) in Toolchain::find(root, true)?.versions()? {
                println!("{tool} {version}");
            }
            return Ok(());
        }
        other => {
            return Err(Failure::Broken(format!(
                "codegen: `{}` is no option; it takes one of --check, --check-sources, --install, or none",
                other.join(" ")
            )));
        }
    };
    if check {
        // Before the compiler is located, because this check needs none.
        check_sources(root)?;
    }
    let tools = Toolchain::find(root, false)?;
    let versions = tools.versions()?;
    let built = fs::read(build::build(root, &tools)?)?;
    if let Some(path) = object::leak(&built, root) {
        return Err(Failure::Broken(format!(
            "the object holds a path ({path}), so that it differs between machines: a panic with its place, or debugging \
             information, has got into it"
        )));
    }
    let summary = object::summary(&built).map_err(|why| Failure::Broken(format!("what was built: {why}")))?;
    let record = Record {
        sources: sources::hash(root)?,
        object: sources::sha256(&built),
        tools: versions,
    };
    println!("codegen: {} bytes, SHA-256 {}\n{summary}", built.len(), record.object);
    if check {
        return compare(root, &built, &record);
    }
    fs::create_dir_all(root.join("probes/bpf"))?;
    fs::write(root.join(OBJECT), &built)?;
    fs::write(root.join(RECORD), record.text())?;
    println!("wrote {OBJECT} and {RECORD}");
    Ok(())
}

fn check_sources(root: &Path) -> Outcome {
    match disagreement(root) {
        Ok(()) => {
            println!("codegen: {OBJECT} is of these sources");
            Ok(())
        }
        Err(why) => {
            println!("codegen: {why}");
            Err(Failure::Found)
        }
    }
}

/// Returns the disagreements between the committed object, its record and the sources that are
/// visible without building.
fn disagreement(root: &Path) -> Result<(), String> {
    let object = fs::read(root.join(OBJECT)).map_err(|error| format!("{OBJECT}: {error}: {MEND}"))?;
    let record = fs::read_to_string(root.join(RECORD)).map_err(|error| format!("{RECORD}: {error}: {MEND}"))?;
    let record = Record::parse(&record);
    let sources = sources::hash(root).map_err(|error| format!("the sources cannot be read: {error}"))?;
    if sources != record.sources {
        return Err(format!(
            "{OBJECT} is not of these sources: probes-ebpf or probes-common was changed since it was built: {MEND}"
        ));
    }
    if sources::sha256(&object) != record.object {
        return Err(format!("{OBJECT} is not the object that {RECORD} tells of: {MEND}"));
    }
    Ok(())
}

/// Compares a fresh build with the committed object.
fn compare(root: &Path, built: &[u8], now: &Record) -> Outcome {
    let committed = fs::read(root.join(OBJECT))?;
    let then = Record::parse(&fs::read_to_string(root.join(RECORD))?);
    let versions = differing_versions(&then, now);
    if committed == built {
        println!("codegen: {OBJECT} is what its sources give, byte for byte");
        for line in versions {
            println!("  (the same bytes, though {line})");
        }
        return Ok(());
    }
    println!(
        "codegen: {OBJECT} is not what its sources give: {}",
        object::difference(&committed, built)
    );
    if versions.is_empty() {
        println!("  sources and tools are the same: it was changed by hand, or the build is not reproducible here");
    } else {
        println!("  the sources are the same, the tools are not:");
        for line in versions {
            println!("  {line}");
        }
    }
    println!("  {MEND}");
    Err(Failure::Found)
}

/// Returns the tools that have changed since then.
fn differing_versions(then: &Record, now: &Record) -> Vec<String> {
    let version = |record: &Record, tool: &str| {
        let found = record.tools.iter().find(|(name, _)| name == tool);
        found.map_or_else(|| "an unknown version".to_owned(), |(_, version)| version.clone())
    };
    let changed = now.tools.iter().filter(|(tool, new)| *new != version(then, tool));
    changed
        .map(|(tool, new)| format!("{tool} was {}, and is {new} here", version(then, tool)))
        .collect()
}

/// Returns the directory of cargo's downloaded packages.
fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Returns a path as text.
fn visible_path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_changed_are_named_with_both_versions() {
        let record = |rustc: &str| Record {
            tools: vec![
                ("rustc".to_owned(), rustc.to_owned()),
                ("llvm".to_owned(), "22".to_owned()),
            ],
            ..Record::default()
        };
        assert!(differing_versions(&record("1.96.0"), &record("1.96.0")).is_empty());
        assert_eq!(
            differing_versions(&record("1.96.0"), &record("1.97.0")),
            ["rustc was 1.96.0, and is 1.97.0 here"]
        );
        assert_eq!(
            differing_versions(&Record::default(), &record("1.97.0"))[0],
            "rustc was an unknown version, and is 1.97.0 here"
        );
    }
}
