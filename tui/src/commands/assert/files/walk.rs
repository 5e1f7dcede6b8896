//! Search of a directory tree for files whose names match a pattern.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::mounts::{Mount, Mounts};
use crate::filter::glob_matches;

/// Maximum number of directory entries that one search reads.
const MAX_ENTRIES: usize = 100_000;

/// Directory of a pattern with wildcards, which begins with `/` or a wildcard, and how paths below
/// it are spelled.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pattern: String,
    /// Directory before the first wildcard, as the pattern spells it, without the last slash.
    spelled: String,
    /// That directory without links.
    real: PathBuf,
}

/// Files that a search found.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Identities of the files.
    pub(super) objects: BTreeSet<String>,
    /// Why files can be missing; `None` if all were found.
    pub(super) gap: Option<String>,
}

impl Tree {
    /// Returns the tree of a pattern. Returns `None` if its directory does not exist.
    pub(super) fn of(pattern: &str) -> Option<Self> {
        let literal = pattern.split(['*', '?']).next().unwrap_or_default();
        // A pattern that begins with a wildcard can match in every directory.
        let (spelled, _) = literal.rsplit_once('/').unwrap_or_default();
        let real = std::fs::canonicalize(if spelled.is_empty() { "/" } else { spelled }).ok()?;
        Some(Self {
            pattern: pattern.to_owned(),
            spelled: spelled.to_owned(),
            real,
        })
    }

    /// Returns whether the pattern names no directory.
    pub(super) fn is_everywhere(&self) -> bool {
        self.real == Path::new("/")
    }

    /// Returns whether a path matches the pattern, in the pattern's own spelling of its directory.
    pub(super) fn matches(&self, path: &Path) -> bool {
        self.respell(path)
            .is_some_and(|path| glob_matches(&self.pattern, &path))
    }

    fn respell(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix(&self.real).ok()?;
        Some(format!("{}/{}", self.spelled, rest.to_string_lossy()))
    }

    /// Returns whether a file below a directory can match.
    fn can_be_below(&self, directory: &Path) -> bool {
        let literal = self.pattern.split(['*', '?']).next().unwrap_or_default();
        self.respell(directory).is_some_and(|path| {
            let path = format!("{}/", path.trim_end_matches('/'));
            path.starts_with(literal) || literal.starts_with(&path)
        })
    }

    /// Searches the tree. `devices` limits the search to file systems; `None` means all.
    ///
    /// Inode numbers are read from the directories, so no file is examined itself.
    pub(super) fn search(&self, mounts: &Mounts, devices: Option<&BTreeSet<String>>) -> Found {
        let mut found = Found::default();
        let mut left = MAX_ENTRIES;
        let is_wanted = |mount: &&Mount| devices.is_none_or(|devices| devices.contains(&mount.device));
        let own = mounts.of(&self.real).filter(is_wanted);
        let below = mounts
            .0
            .iter()
            .filter(|mount| mount.point.starts_with(&self.real) && mount.point != self.real);
        let mut starts: Vec<(&Mount, PathBuf)> = own.map(|mount| (mount, self.real.clone())).into_iter().collect();
        starts.extend(below.filter(is_wanted).map(|mount| (mount, mount.point.clone())));
        for (mount, start) in starts {
            let mut directories = vec![start];
            while let Some(directory) = directories.pop() {
                if !self.can_be_below(&directory) {
                    continue;
                }
                let entries = match std::fs::read_dir(&directory) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        found.gap = Some(format!("{} cannot be read: {error}", directory.display()));
                        continue;
                    }
                };
                for entry in entries.flatten() {
                    if left == 0 {
                        found.gap = Some(format!(
                            "the search below {} was stopped after {MAX_ENTRIES} entries",
                            self.real.display()
                        ));
                        return found;
                    }
                    left -= 1;
                    let path = entry.path();
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        if !mounts.0.iter().any(|mount| mount.point == path) {
                            directories.push(path);
                        }
                    } else if self.matches(&path) {
                        let inode = std::os::unix::fs::DirEntryExt::ino(&entry);
                        found.objects.insert(format!("{}:{inode}", mount.device));
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn search_finds_matching_names_whatever_the_spelling_of_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("directories");
        for name in ["a/out.1", "a/b/out.2", "a/other", "out.3"] {
            std::fs::write(dir.path().join(name), "x").expect("a file");
        }
        let inode = |name: &str| std::fs::metadata(dir.path().join(name)).expect("a file").ino();
        let mounts = Mounts::read();
        for spelled in ["a", "a/../a", "./a"] {
            let pattern = format!("{}/{spelled}/*out*", dir.path().display());
            let tree = Tree::of(&pattern).expect("a tree");
            let found = tree.search(&mounts, None);
            let numbers: BTreeSet<u64> = found
                .objects
                .iter()
                .filter_map(|object| object.rsplit(':').next()?.parse().ok())
                .collect();
            assert_eq!(numbers, [inode("a/out.1"), inode("a/b/out.2")].into(), "{spelled}");
            assert_eq!(found.gap, None);
            assert!(
                tree.matches(
                    &std::fs::canonicalize(dir.path().join("a"))
                        .expect("a path")
                        .join("out.9")
                )
            );
            assert!(tree.search(&mounts, Some(&BTreeSet::new())).objects.is_empty());
        }
        assert!(Tree::of(&format!("{}/none/*", dir.path().display())).is_none());
        let everywhere = Tree::of("*.bin").expect("a tree");
        assert!(everywhere.is_everywhere() && everywhere.matches(Path::new("/srv/a.bin")));
    }
}
