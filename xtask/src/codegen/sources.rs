//! Sources of the eBPF object: their hash, and the record that is committed next to the object.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Locations of the sources: directories with all files below them, and single files. A missing one
/// is skipped.
const SOURCES: [&str; 8] = [
    ".cargo/config.toml",
    "probes-common/Cargo.toml",
    "probes-common/src",
    "probes-ebpf/.cargo",
    "probes-ebpf/Cargo.lock",
    "probes-ebpf/Cargo.toml",
    "probes-ebpf/build.rs",
    "probes-ebpf/src",
];

/// Head of the record: its purpose, and how its hash is computed.
const HEAD: &str = "\
# What zctrace.bpf.o was made of and with. Written by `cargo xtask codegen`, which also says where the two disagree.
# sources: SHA-256 over each file in bytewise order of its path: path, newline, length in decimal, newline, content.
# The files: all of probes-ebpf and probes-common that is compiled, with manifests, lock file and cargo's configuration.
";

/// The record next to the object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    /// SHA-256 of the sources, in hexadecimal.
    pub(super) sources: String,
    /// SHA-256 of the object.
    pub(super) object: String,
    /// Tools that built it, with their versions.
    pub(super) tools: Vec<(String, String)>,
}

impl Record {
    /// Parses a record. Missing entries stay empty and therefore match nothing.
    pub(super) fn parse(text: &str) -> Self {
        let mut record = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((key, value)) = line.split_once(' ') else {
                continue;
            };
            match key {
                "sources" => value.clone_into(&mut record.sources),
                "object" => value.clone_into(&mut record.object),
                _ => record.tools.push((key.to_owned(), value.to_owned())),
            }
        }
        record
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{HEAD}sources {}\nobject {}\n", self.sources, self.object);
        for (tool, version) in &self.tools {
            let _ = writeln!(text, "{tool} {version}");
        }
        text
    }
}

/// Returns a SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the hash of the sources under `root`.
pub(super) fn hash(root: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    for path in files(root)? {
        let content = fs::read(root.join(&path))?;
        hasher.update(format!("{path}\n{}\n", content.len()));
        hasher.update(&content);
    }
    Ok(hexadecimal(&hasher.finalize()))
}

/// Returns the source files, relative to `root`, in bytewise order.
fn files(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for path in SOURCES {
        collect(root, path, &mut found)?;
    }
    found.sort_unstable();
    Ok(found)
}

fn collect(root: &Path, path: &str, found: &mut Vec<String>) -> io::Result<()> {
    let whole = root.join(path);
    if whole.is_file() {
        found.push(path.to_owned());
    } else if whole.is_dir() {
        for entry in fs::read_dir(whole)? {
            let name = entry?.file_name().into_string();
            let name = name.map_err(|name| io::Error::other(format!("{path}: {} is no text", name.display())))?;
            collect(root, &format!("{path}/{name}"), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            sources: "ab".to_owned(),
            object: "cd".to_owned(),
            tools: vec![("rustc".to_owned(), "1.2.3 (of some day)".to_owned())],
        };
        assert_eq!(Record::parse(&record.text()), record);
        assert_eq!(Record::parse("damaged\n"), Record::default());
    }

    #[test]
    fn the_hash_depends_on_paths_and_contents_alone() {
        let root = std::env::temp_dir().join(format!("xtask-sources-{}", std::process::id()));
        let write = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, content).expect("a file");
        };
        write("probes-ebpf/src/b/c.rs", "b");
        write("probes-ebpf/src/a.rs", "a");
        let first = hash(&root).expect("readable");
        write("probes-ebpf/README.md", "not compiled");
        write("probes-ebpf/target/x", "not compiled");
        assert_eq!(hash(&root).expect("readable"), first);
        write("probes-ebpf/src/a.rs", "b");
        let second = hash(&root).expect("readable");
        assert_ne!(second, first, "another content");
        fs::rename(root.join("probes-ebpf/src/a.rs"), root.join("probes-ebpf/src/d.rs")).expect("renamed");
        assert_ne!(hash(&root).expect("readable"), second, "another name");
        fs::remove_dir_all(&root).expect("removed");
    }

    /// The committed object is built from the committed sources. Needs no compiler, so it runs in
    /// everyone's tests.
    #[test]
    fn the_committed_object_is_up_to_date() {
        if let Err(why) = super::super::disagreement(&crate::repo::root()) {
            panic!("{why}");
        }
    }
}
