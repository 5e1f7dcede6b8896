//! Tests of the lookup of files, on a real file system.

use std::fs;
use std::path::PathBuf;

use zctrace_report::EndpointKind;

use super::mounts::Mounts;
use super::node::{Node, now};
use super::*;

struct Place {
    dir: tempfile::TempDir,
    mounts: Mounts,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("in")).expect("a directory");
        Self {
            dir,
            mounts: Mounts::read(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pattern(&self, name: &str) -> Pattern {
        Pattern::parse(&format!("file:{}", self.path(name).display())).expect("a pattern")
    }

    /// Writes a file, and returns it as a report has it, under the name that it has now.
    fn write(&self, name: &str, bytes: usize) -> Endpoint {
        fs::write(self.path(name), vec![7; bytes]).expect("written");
        self.end(name)
    }

    fn end(&self, name: &str) -> Endpoint {
        let path = self.path(name);
        let node = Node::of(&path, false, &self.mounts).expect("examined").expect("a file");
        let mut end = Endpoint::new(EndpointKind::File, path.display().to_string());
        end.object = Some(node.object);
        end
    }

    /// Returns what a match by identity is here: equal inode numbers can be different files.
    fn sure(&self) -> Match {
        let node = Node::of(self.dir.path(), true, &self.mounts)
            .expect("examined")
            .expect("a file");
        if node.is_ambiguous { Match::Unknown } else { Match::Yes }
    }
}

fn seen(ends: &[&Endpoint], delivered: u64) -> BTreeMap<String, Seen> {
    let mut files: BTreeMap<String, Seen> = BTreeMap::new();
    for end in ends {
        let file = files.entry(end.object.clone().expect("an identity")).or_default();
        file.ends.push((*end).clone());
        (file.delivered, file.calls) = (delivered, 1);
    }
    files
}

fn look(pattern: &Pattern) -> Before {
    Before::look(std::slice::from_ref(pattern), &[])
}

#[test]
fn file_that_gets_the_name_later_is_the_rules() {
    for rule in ["in/f", "in/f*", "in/../in/f", "*/f"] {
        let place = Place::new();
        place.write("in/f", 1);
        let pattern = place.pattern(rule);
        let before = look(&pattern);
        let renamed = place.write("in/temporary", 1);
        let elsewhere = place.write("in/other", 1);
        fs::rename(place.path("in/temporary"), place.path("in/f")).expect("renamed");
        let files = before.resolve(&seen(&[&renamed, &elsewhere], 1));
        assert_eq!(files.matches(&pattern, &renamed), place.sure(), "{rule} {files:?}");
        assert_eq!(files.matches(&pattern, &elsewhere), Match::No, "{rule} {files:?}");
        let direct = Pattern::parse(&format!("direct_file:{}", place.path(rule).display())).expect("a pattern");
        assert_eq!(files.matches(&direct, &renamed), Match::No);
    }
}

#[test]
fn file_that_had_the_name_before_is_the_rules() {
    for rule in ["in/f", "in/f*"] {
        let place = Place::new();
        place.write("in/f", 1);
        let old = place.end("in/f");
        let pattern = place.pattern(rule);
        // The clock of the file system must show that the file was made before.
        let node = Node::of(&place.path("in/f"), false, &place.mounts);
        let born = node.expect("examined").expect("a file").born;
        while born.is_some_and(|born| now() <= born) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let before = look(&pattern);
        fs::rename(place.path("in/f"), place.path("in/old")).expect("renamed");
        let renamed = place.end("in/old");
        let files = before.resolve(&seen(&[&renamed], 1));
        assert_eq!(files.matches(&pattern, &renamed), place.sure(), "{rule} {files:?}");
        // Deleted under its new name, nothing shows that it was the same file.
        fs::remove_file(place.path("in/old")).expect("removed");
        let files = before.resolve(&seen(&[&renamed], 1));
        assert_eq!(files.matches(&pattern, &renamed), Match::Unknown, "{rule} {files:?}");
        assert!(files.why_unknown(&renamed).is_some_and(|why| why.contains("/in/old")));
        assert_eq!(old.object, renamed.object);
    }
}

#[test]
fn hard_links_of_a_file_are_one_file() {
    for rule in ["in/f", "in/f*"] {
        let place = Place::new();
        place.write("in/f", 1);
        fs::hard_link(place.path("in/f"), place.path("link")).expect("linked");
        let pattern = place.pattern(rule);
        let link = place.end("link");
        let files = look(&pattern).resolve(&seen(&[&link], 1));
        assert_eq!(files.matches(&pattern, &link), place.sure(), "{rule} {files:?}");
    }
}

#[test]
fn deleted_file_is_none_of_a_directory_that_was_searched() {
    let place = Place::new();
    let pattern = place.pattern("in/f*");
    let before = look(&pattern);
    let gone = place.write("temporary", 1);
    fs::remove_file(place.path("temporary")).expect("removed");
    let files = before.resolve(&seen(&[&gone], 1));
    assert_eq!(files.matches(&pattern, &gone), Match::No, "{files:?}");
}

#[test]
fn data_that_no_traced_call_delivered_is_told() {
    const MIB: usize = 1 << 20;
    let place = Place::new();
    if place.sure() != Match::Yes {
        return;
    }
    let pattern = place.pattern("in/f");
    let before = look(&pattern);
    let end = place.write("in/f", 4 * MIB);
    let says = |before: &Before, delivered| before.resolve(&seen(&[&end], delivered)).unseen_writers;
    assert_eq!(says(&before, 4 << 20), [""; 0]);
    let told = says(&before, 1 << 20);
    assert!(
        told.len() == 1 && told[0].contains("grew by 4 194 304 bytes of data, and traced calls delivered 1 048 576"),
        "{told:?}"
    );
    // Bytes that a file had before CMD, and holes, are no writes that were missed.
    let before = look(&pattern);
    assert_eq!(says(&before, 0), [""; 0]);
    let file = fs::File::options()
        .write(true)
        .open(place.path("in/f"))
        .expect("opened");
    file.set_len(64 << 20).expect("a hole");
    assert_eq!(says(&before, 0), [""; 0]);
}

#[test]
fn only_paths_are_looked_up() {
    let watched = |pattern: &str| Watch::start(&[Pattern::parse(pattern).expect("a pattern")], &[]).is_some();
    assert!(watched("file:/etc/passwd") && watched("direct_file:*.bin"));
    assert!(!watched("file") && !watched("file:*") && !watched("file:[7]") && !watched("tcp:/x"));
}
