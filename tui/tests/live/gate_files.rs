//! Tests of the gate on files: no assertion passes over bytes in a file because of the name under
//! which they came into it, of another process that wrote them, or of a way around the rule.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};

use super::*;

/// Directory that the traced process works in.
const DIR: &str = "ZCTRACE_TEST_DIR";

/// Bytes that are copied.
const COPIED: usize = 1 << 20;

/// How long a test waits for another process before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

fn copy_into(mut file: &File) {
    file.write_all(&vec![7; COPIED]).expect("written");
}

fn create(path: &Path) -> File {
    File::create(path).expect("a file")
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < PATIENCE, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// If this is the traced process, copies bytes into the file `in/f` as the variable says.
fn work_if_traced() {
    let Ok(how) = std::env::var(SEND) else { return };
    let dir = PathBuf::from(std::env::var(DIR).expect("a directory"));
    let path = |name: &str| dir.join(name);
    let (target, temporary) = (path("in/f"), path("in/temporary"));
    match how.as_str() {
        "rename" => {
            copy_into(&create(&temporary));
            fs::rename(&temporary, &target).expect("renamed");
        }
        "link" => {
            copy_into(&create(&temporary));
            fs::hard_link(&temporary, &target).expect("linked");
            fs::remove_file(&temporary).expect("removed");
        }
        "exchange" => {
            create(&target);
            copy_into(&create(&temporary));
            renameat_with(CWD, &temporary, CWD, &target, RenameFlags::EXCHANGE).expect("exchanged");
        }
        "directory" => {
            fs::create_dir(path("new")).expect("a directory");
            copy_into(&create(&path("new/f")));
            fs::remove_dir(path("in")).expect("removed");
            fs::rename(path("new"), path("in")).expect("renamed");
        }
        "nameless" => {
            let flags = OFlags::TMPFILE.bits().cast_signed();
            let file = File::options()
                .write(true)
                .custom_flags(flags)
                .open(path("in"))
                .expect("a file");
            copy_into(&file);
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, link.as_str(), CWD, &target, AtFlags::SYMLINK_FOLLOW).expect("linked");
        }
        "known link" => copy_into(&File::options().write(true).open(path("link")).expect("opened")),
        "old name" => {
            create(&temporary);
            let mut file = File::options().write(true).open(&temporary).expect("opened");
            file.write_all(b"first").expect("written");
            drop(file);
            fs::rename(&temporary, &target).expect("renamed");
            copy_into(&File::options().write(true).open(&target).expect("opened"));
        }
        "away" => {
            fs::rename(&target, &temporary).expect("renamed");
            copy_into(&File::options().write(true).open(&temporary).expect("opened"));
        }
        "helped" => {
            copy_into(&create(&target));
            create(&path("ready"));
            wait_for(&path("go"));
        }
        "alone" => copy_into(&create(&target)),
        "through memory" => {
            let source = fs::read(path("source")).expect("read");
            create(&target).write_all(&source).expect("written");
            let (source, target) = (File::open(path("source")), File::options().append(true).open(&target));
            let mut source = source.expect("opened");
            std::io::copy(&mut source, &mut target.expect("opened")).expect("copied");
        }
        other => panic!("{other}"),
    }
    std::process::exit(0);
}

/// Returns the program that judges, with a rule, the given way of writing in a directory.
fn judged(test: &str, rule: &[&str], how: &str, dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
    command.arg("assert").args(rule).arg("--");
    command
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture"])
        .env(SEND, how)
        .env(DIR, dir)
        .env_remove("SUDO_UID")
        .stdin(Stdio::null());
    command
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("in")).expect("a directory");
    dir
}

#[test]
fn bytes_count_whatever_name_the_file_had_when_they_came() {
    const TEST: &str = "gate_files::bytes_count_whatever_name_the_file_had_when_they_came";
    work_if_traced();
    if !possible(TEST) {
        return;
    }
    let ways = [
        "rename",
        "link",
        "exchange",
        "directory",
        "nameless",
        "known link",
        "old name",
        "away",
    ];
    for how in ways {
        let rules: &[&str] = match how {
            "rename" => &["in/f", "in/f*", "in/../in/f"],
            "known link" | "away" => &["in/f", "in/f*"],
            _ => &["in/f"],
        };
        for rule in rules {
            let dir = directory();
            if ["known link", "away"].contains(&how) {
                create(&dir.path().join("in/f"));
            }
            if how == "known link" {
                fs::hard_link(dir.path().join("in/f"), dir.path().join("link")).expect("linked");
            }
            let to = format!("file:{}/{rule}", dir.path().display());
            let rules = ["--to", &to, "--max-copied", "0"];
            let output = judged(TEST, &rules, how, dir.path())
                .output()
                .expect("zctrace can be run");
            let printed = both(&output);
            // On a file system whose inode numbers are not unique, the bytes are undecided.
            assert!(matches!(output.status.code(), Some(1 | 3)), "{how} {rule}\n{printed}");
            assert!(printed.contains("1 048 5"), "{how} {rule}\n{printed}");
        }
    }
}

#[test]
fn bytes_of_a_process_outside_of_the_command_leave_the_judgment_open() {
    const TEST: &str = "gate_files::bytes_of_a_process_outside_of_the_command_leave_the_judgment_open";
    work_if_traced();
    if !possible(TEST) {
        return;
    }
    let rule = |dir: &Path| format!("file:{}/in/f", dir.display());
    let dir = directory();
    let (to, target) = (rule(dir.path()), dir.path().join("in/f"));
    let command = judged(TEST, &["--to", &to, "--max-copied", "100%"], "helped", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("zctrace can be run");
    wait_for(&dir.path().join("ready"));
    let file = File::options().append(true).open(target).expect("opened");
    for _ in 0..4 {
        copy_into(&file);
    }
    create(&dir.path().join("go"));
    let output = command.wait_with_output().expect("it ends");
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(3), "{printed}");
    let joined = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        joined.contains("bytes of data, and traced calls delivered 1 048 576"),
        "{printed}"
    );
    // Without the other process the same rule passes.
    let dir = directory();
    let rules = ["--to", &rule(dir.path()), "--max-copied", "100%"];
    let output = judged(TEST, &rules, "alone", dir.path())
        .output()
        .expect("zctrace can be run");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
}

#[test]
fn source_that_was_also_read_into_memory_leaves_the_judgment_open() {
    const TEST: &str = "gate_files::source_that_was_also_read_into_memory_leaves_the_judgment_open";
    work_if_traced();
    if !possible(TEST) {
        return;
    }
    let dir = directory();
    fs::write(dir.path().join("source"), vec![7; COPIED]).expect("written");
    let (to, from) = (
        format!("file:{}/in/f", dir.path().display()),
        format!("file:{}/source", dir.path().display()),
    );
    // As many bytes may be copied as go the direct way, and not those that go through memory.
    let limit = COPIED.to_string();
    let rules = ["--to", &to, "--from", &from, "--max-copied", &limit];
    let output = judged(TEST, &rules, "through memory", dir.path())
        .output()
        .expect("zctrace can be run");
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.contains("judge without --from"), "{printed}");
}
