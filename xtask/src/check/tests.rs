//! Each rule must catch a violation that is injected into an otherwise valid repository.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::rules::{FILES, FOLDERS, LONG_FILES, MAX_LINES, README_COMMANDS};
use super::{Which, violations};

const BLAMELESS: &str = "//! What this file is.\n\nfn main() {}\n";

/// A repository in a folder of its own, gone when the test ends.
struct Repository(PathBuf);

impl Repository {
    fn blameless() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "xtask-check-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let new = Self(std::env::temp_dir().join(name));
        for file in FILES {
            new.write(file, "nothing to see\n");
        }
        new.write("README.md", &README_COMMANDS.join("\n"));
        new.mode(".ci/run", 0o755);
        for folder in FOLDERS {
            new.write(&format!("{folder}/Cargo.toml"), "");
            new.write(&format!("{folder}/src/main.rs"), BLAMELESS);
        }
        new
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a path inside the repository")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("permissions");
    }

    /// Returns the violations as (rule, path, line).
    fn broken(&self) -> Vec<(&'static str, String, usize)> {
        let (_, found) = violations(&self.0, Which::Rules).expect("a readable repository");
        found
            .into_iter()
            .map(|violation| (violation.rule, violation.path, violation.line))
            .collect()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// That exactly one rule is broken, at exactly one place.
fn assert_caught(repository: &Repository, rule: &'static str, path: &str, line: usize) {
    assert_eq!(repository.broken(), [(rule, path.to_owned(), line)]);
}

#[test]
fn a_blameless_repository_passes() {
    assert_eq!(Repository::blameless().broken(), []);
}

#[test]
fn layout_catches_each_missing_folder_and_file() {
    for folder in FOLDERS {
        let repository = Repository::blameless();
        fs::remove_dir_all(repository.path(folder)).expect("the folder");
        assert_caught(&repository, "layout", &format!("{folder}/Cargo.toml"), 0);
    }
    for file in FILES {
        let repository = Repository::blameless();
        fs::remove_file(repository.path(file)).expect("the file");
        assert_caught(&repository, "layout", file, 0);
    }
}

#[test]
fn layout_catches_a_ci_script_that_cannot_run() {
    let repository = Repository::blameless();
    repository.mode(".ci/run", 0o644);
    assert_caught(&repository, "layout", ".ci/run", 0);
}

#[test]
fn length_catches_a_long_file_unless_it_is_listed() {
    let repository = Repository::blameless();
    let full = format!("{BLAMELESS}{}", "//\n".repeat(MAX_LINES - BLAMELESS.lines().count()));
    repository.write("tui/src/full.rs", &full);
    repository.write(LONG_FILES[0].0, &format!("{full}//\n"));
    assert_eq!(repository.broken(), []);
    repository.write("tui/tests/long.rs", &format!("{full}//\n"));
    assert_caught(&repository, "length", "tui/tests/long.rs", 0);

    let repository = Repository::blameless();
    repository.write(LONG_FILES[0].0, &full);
    assert_caught(&repository, "length", LONG_FILES[0].0, 0);
}

#[test]
fn head_catches_a_file_that_does_not_say_what_it_is() {
    for text in [
        "fn main() {}\n",
        "",
        "\n//! Late.\n",
        "//!\n",
        "/// Of an item.\nfn main() {}\n",
    ] {
        let repository = Repository::blameless();
        repository.write("probes/tests/odd.rs", text);
        assert_caught(&repository, "head", "probes/tests/odd.rs", 1);
    }
}

#[test]
fn forbidden_catches_every_mark_in_every_kind_of_file() {
    let planted = [
        concat!("see /wo", "rk/main"),
        concat!("\"/wo", "rk/\""),
        concat!("file:///ho", "me/me"),
        concat!("to", "do!()"),
        concat!("unimpl", "emented!()"),
        concat!("db", "g!(x)"),
        concat!("// FIX", "ME later"),
        concat!("// XX", "X"),
    ];
    for line in planted {
        for path in ["bufferlist/README.md", ".ci/run", "tui/src/lib.rs", "tui/tests/a.rs"] {
            let repository = Repository::blameless();
            repository.write(path, &format!("//! A head.\n{line}\n"));
            repository.mode(path, 0o755);
            assert_caught(&repository, "forbidden", path, 2);
        }
    }
}

#[test]
fn forbidden_leaves_innocent_lines_alone() {
    let repository = Repository::blameless();
    let innocent = [
        concat!(
            "see $ROOT/wo",
            "rk/main and https://example.org/ho",
            "me/ and ../wo",
            "rk/"
        ),
        concat!("my_to", "do!() XX", "XX PREFIX", "MES"),
    ];
    repository.write("bufferlist/README.md", &innocent.join("\n"));
    assert_eq!(repository.broken(), []);
}

#[test]
fn what_is_not_text_is_not_judged() {
    let repository = Repository::blameless();
    let path = repository.path("probes/object.o");
    fs::write(path, [b"\xff\xfe".as_slice(), concat!("XX", "X").as_bytes()].concat()).expect("a file");
    assert_eq!(repository.broken(), []);
}

#[test]
fn build_output_is_not_judged() {
    let repository = Repository::blameless();
    repository.write("target/debug/out.rs", "fn main() {}");
    repository.write("probes-ebpf/target/out.rs", "fn main() {}");
    assert_eq!(repository.broken(), []);
}

#[test]
fn readme_catches_each_missing_command() {
    for command in README_COMMANDS {
        let repository = Repository::blameless();
        repository.write("README.md", command);
        assert_caught(&repository, "readme", "README.md", 0);
    }
}

#[test]
fn safety_catches_an_unexplained_unsafe_in_src_only() {
    let repository = Repository::blameless();
    let text = "//! A head.\n\nfn f() {\n    unsafe { g() }\n}\n";
    repository.write("bufferlist/tests/a.rs", text);
    assert_eq!(repository.broken(), []);
    repository.write("bufferlist/src/deep/a.rs", text);
    assert_caught(&repository, "safety", "bufferlist/src/deep/a.rs", 4);
    repository.write(
        "bufferlist/src/deep/a.rs",
        &text.replace("    unsafe", "    // SAFETY: so\n    unsafe"),
    );
    assert_eq!(repository.broken(), []);
}

#[test]
fn a_violation_reads_like_a_compiler_message() {
    let repository = Repository::blameless();
    repository.write("tui/src/lib.rs", "fn f() {}\n");
    let (_, found) = violations(Path::new(&repository.0), Which::Rules).expect("a readable repository");
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["tui/src/lib.rs:1: does not start with a `//!` line that says what the file is [head]"]
    );
}
