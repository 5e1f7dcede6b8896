//! Lookup of a rule's files before and after CMD, and what follows for the ends of a report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use zctrace_report::format::count;

use super::mounts::Mounts;
use super::node::{Node, Time, data_bytes, now, precise_now};
use super::walk::{Found, Tree};
use super::{Files, Resolved, Seen};
use crate::filter::{Match, Pattern};

/// Files of the rules before CMD started.
pub(super) struct Before {
    started: Time,
    ended: Time,
    rules: Vec<Rule>,
}

struct Rule {
    pattern: Pattern,
    is_sink: bool,
    looked: Looked,
}

enum Looked {
    /// A path, and the file that had it.
    Path(PathBuf, Option<Node>),
    /// A pattern with wildcards, and the files that matched it.
    Tree(String, Found),
}

impl Before {
    /// Looks up the files of all patterns.
    pub(super) fn look(sinks: &[Pattern], sources: &[Pattern]) -> Self {
        let started = now();
        let mounts = Mounts::read();
        let sinks = sinks.iter().map(|pattern| (pattern, true));
        let rules = sinks.chain(sources.iter().map(|pattern| (pattern, false)));
        let rules = rules.filter_map(|(pattern, is_sink)| {
            let glob = pattern.glob()?;
            let looked = if glob.contains(['*', '?']) {
                Looked::Tree(glob.to_owned(), search_before(glob, &mounts))
            } else {
                let node = Node::of(Path::new(glob), true, &mounts);
                Looked::Path(glob.into(), node.ok().flatten())
            };
            Some(Rule {
                pattern: pattern.clone(),
                is_sink,
                looked,
            })
        });
        let rules = rules.collect();
        Self {
            started,
            ended: precise_now(),
            rules,
        }
    }

    /// Decides for each file that was seen whether it is one of the rules'.
    pub(super) fn resolve(&self, seen: &BTreeMap<String, Seen>) -> Files {
        let now = Now {
            mounts: Mounts::read(),
            started: self.started,
            looked: self.ended,
            seen,
        };
        let mut files = Files::default();
        for rule in &self.rules {
            let resolved = match &rule.looked {
                Looked::Path(path, before) => {
                    let after = Node::of(path, true, &now.mounts);
                    if let (true, Ok(Some(after))) = (rule.is_sink, &after) {
                        files
                            .unseen_writers
                            .extend(now.unseen_writer(path, before.as_ref(), after));
                    }
                    now.resolve_path(&rule.pattern, path, before.as_ref(), after)
                }
                Looked::Tree(glob, before) => now.resolve_tree(&rule.pattern, glob, before),
            };
            files.of.push((rule.pattern.clone(), resolved));
        }
        files
    }
}

fn search_before(glob: &str, mounts: &Mounts) -> Found {
    match Tree::of(glob) {
        // Such a search would not come to an end. Most files show that they kept their names.
        Some(tree) if tree.is_everywhere() => Found {
            gap: Some("the rule names no directory".to_owned()),
            ..Found::default()
        },
        Some(tree) => tree.search(mounts, None),
        None => Found::default(),
    }
}

/// State after CMD ended.
struct Now<'a> {
    mounts: Mounts,
    /// Time before the first lookup. A file or directory that is older was not changed since.
    started: Time,
    /// Time after the first lookup. A file that is younger was not found by it.
    looked: Time,
    seen: &'a BTreeMap<String, Seen>,
}

impl Now<'_> {
    fn resolve_path(
        &self,
        pattern: &Pattern,
        path: &Path,
        before: Option<&Node>,
        after: std::io::Result<Option<Node>>,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        let real = real_spelling(path);
        let shown = path.display();
        let after = match after {
            Ok(after) => after,
            Err(error) => {
                for (object, _) in self.others(pattern) {
                    let why = format!("{shown} cannot be examined: {error}");
                    resolved.possible.insert(object.clone(), why);
                }
                return resolved;
            }
        };
        for (object, file) in self.others(pattern) {
            let is_after = after.as_ref().is_some_and(|after| after.object == *object);
            let has_name = file
                .ends
                .iter()
                .any(|end| real.as_deref() == Some(Path::new(&end.name)));
            let was_before = before.is_some_and(|before| before.object == *object);
            let current = self.current(object, file);
            let is_reused = |node: &Node| before.is_some_and(|before| before.born != node.born);
            let is_ambiguous = after.iter().chain(before).any(|node| node.is_ambiguous);
            if has_name || is_after && !is_ambiguous {
                resolved.certain.insert(object.clone());
            } else if is_after {
                let why = format!("{shown} has the inode number of {}", name_of(file));
                resolved.possible.insert(object.clone(), why);
            } else if was_before {
                match current {
                    Some(node) if is_reused(&node) => {}
                    Some(node) if node.born.is_some() && !is_ambiguous => {
                        resolved.certain.insert(object.clone());
                    }
                    _ => {
                        let why = format!("{shown} had the inode number of {} before", name_of(file));
                        resolved.possible.insert(object.clone(), why);
                    }
                }
            }
        }
        resolved
    }

    fn resolve_tree(&self, pattern: &Pattern, glob: &str, before: &Found) -> Resolved {
        let mut resolved = Resolved::default();
        // The directory can be gone, and files that matched before can have other names now.
        let tree = Tree::of(glob);
        let others: Vec<(&String, &Seen, Option<Node>)> = self
            .others(pattern)
            .map(|(object, file)| (object, file, self.current(object, file)))
            .collect();
        // A file that still has its name, and no other, has no name that matches.
        let moved = |node: &Option<Node>| node.as_ref().is_none_or(|node| node.links > 1);
        let is_moved = others.iter().filter(|(_, _, node)| moved(node));
        let devices: BTreeSet<String> = is_moved.filter_map(|(object, ..)| device_of(object)).collect();
        let after = match &tree {
            Some(tree) if !devices.is_empty() => tree.search(&self.mounts, Some(&devices)),
            _ => Found::default(),
        };
        let fits = |name: &str| tree.as_ref().is_some_and(|tree| tree.matches(Path::new(name)));
        for (object, file, node) in &others {
            let is_ambiguous = self.is_ambiguous(object);
            let has_name = file.ends.iter().any(|end| fits(&end.name));
            let is_new = |node: &Node| node.born.is_some_and(|born| born >= self.started);
            let kept_name = || file.ends.iter().all(|end| self.kept_name(Path::new(&end.name)));
            // The inode number of a deleted file is used again.
            let is_reused = |node: &Node| node.born.is_some_and(|born| born > self.looked);
            let was_before = before.objects.contains(*object) && !node.as_ref().is_some_and(is_reused);
            let open = match node {
                node if moved(node) && after.gap.is_some() => after.gap.as_ref(),
                Some(node) if !is_new(node) && !kept_name() => before.gap.as_ref(),
                _ => None,
            };
            let is_found = after.objects.contains(*object);
            if has_name || is_found && !is_ambiguous || was_before && node.is_some() && !is_ambiguous {
                resolved.certain.insert((*object).clone());
            } else if is_found || was_before {
                let why = format!(
                    "a file that {pattern} matches has the inode number of {}",
                    name_of(file)
                );
                resolved.possible.insert((*object).clone(), why);
            } else if let Some(gap) = open {
                let why = format!(
                    "{} may have had a name that {pattern} matches, and {gap}; name a directory in the rule",
                    name_of(file)
                );
                resolved.possible.insert((*object).clone(), why);
            }
        }
        resolved
    }

    /// Returns the files of the pattern's kind whose names in the report do not match.
    fn others<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = (&'a String, &'a Seen)> {
        self.seen.iter().filter(|(_, file)| {
            let of_kind = file.ends.iter().filter(|end| pattern.matches_kind(end));
            of_kind.map(|end| pattern.matches(end, 1)).any(|fit| fit != Match::Yes)
        })
    }

    /// Examines a file under the name by which it was seen. Returns `None` if that name is now
    /// another file's, or none's.
    fn current(&self, object: &str, file: &Seen) -> Option<Node> {
        let nodes = file
            .ends
            .iter()
            .filter_map(|end| Node::of(Path::new(&end.name), false, &self.mounts).ok().flatten());
        nodes.into_iter().find(|node| node.object == object)
    }

    /// Returns whether nothing below the directories of a path was renamed since CMD started.
    fn kept_name(&self, path: &Path) -> bool {
        let is_old = |directory: &Path| {
            let node = Node::of(directory, true, &self.mounts).ok().flatten();
            node.is_some_and(|node| node.changed < self.started)
        };
        path.is_absolute() && path.ancestors().skip(1).all(is_old)
    }

    fn is_ambiguous(&self, object: &str) -> bool {
        let device = device_of(object);
        let mut mounts = self.mounts.0.iter();
        mounts.any(|mount| Some(&mount.device) == device.as_ref() && mount.is_ambiguous)
    }

    /// Returns a sentence if the file has more data than traced calls delivered.
    ///
    /// Each call can have begun and ended within a block, of which the rest counts as data.
    fn unseen_writer(&self, path: &Path, before: Option<&Node>, after: &Node) -> Option<String> {
        if !after.is_regular || after.is_ambiguous {
            return None;
        }
        let is_same = |before: &&Node| before.object == after.object && before.born == after.born;
        let start = match before.filter(is_same) {
            Some(before) => before.size,
            None if after.born.is_some_and(|born| born >= self.started) => 0,
            None => return None,
        };
        let seen = self.seen.get(&after.object);
        let (delivered, calls) = seen.map_or((0, 0), |seen| (seen.delivered, seen.calls));
        let grown = after.size.checked_sub(start).filter(|&grown| grown > delivered)?;
        let data = data_bytes(path, start).ok()?.min(grown);
        let rounding = calls
            .saturating_mul(2)
            .saturating_add(1)
            .saturating_mul(after.block_bytes);
        (data > delivered.saturating_add(rounding) || delivered == 0 && data > 0).then(|| {
            format!(
                "{} grew by {} bytes of data, and traced calls delivered {} to it; the others were written by a process \
                 outside of CMD or in a way that is not observed",
                path.display(),
                count(data),
                count(delivered)
            )
        })
    }
}

/// Returns the path of a file without links in its directories, if it differs.
fn real_spelling(path: &Path) -> Option<PathBuf> {
    let directory = std::fs::canonicalize(path.parent()?).ok()?;
    let real = directory.join(path.file_name()?);
    (real != path).then_some(real)
}

fn device_of(object: &str) -> Option<String> {
    object.rsplit_once(':').map(|(device, _)| device.to_owned())
}

fn name_of(file: &Seen) -> &str {
    file.ends.first().map_or("", |end| end.name.as_str())
}
