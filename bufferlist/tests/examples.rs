//! Runs each example to its end; the checks inside the examples must hold.

use std::path::PathBuf;
use std::process::Command;

/// Returns the path of a built example, in the directory next to that of this test.
fn built(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.ancestors().nth(2).expect("PROFILE/deps/TEST");
    let path = profile.join("examples").join(example);
    assert!(
        path.exists(),
        "{} is not built: `cargo test` builds the examples, `cargo test --test examples` does with `--examples`",
        path.display()
    );
    path
}

/// Runs an example without arguments and returns its output.
fn run(example: &str) -> String {
    let output = Command::new(built(example)).output().expect("the example starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{example}: {}\n{printed}\n{complaints}",
        output.status
    );
    printed
}

#[test]
fn send_file_prints_consistent_receipt() {
    let printed = run("send_file");
    let numbers: Vec<u64> = printed
        .lines()
        .next()
        .expect("a line")
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    let [total, parts @ ..] = &numbers[..] else {
        panic!("no numbers in {printed}")
    };
    assert!(*total > 0 && parts.len() == 3, "{printed}");
    assert_eq!(*total, parts.iter().sum::<u64>(), "{printed}");
}

#[test]
fn storage_daemon_peeks_only_at_headers() {
    assert!(run("storage_daemon").contains("to TCP   300000 bytes"));
}

#[test]
fn zc_serve_serves_itself() {
    assert!(run("zc_serve").contains("GET /text"));
}

#[test]
fn event_loop_drives_two_transfers() {
    let printed = run("event_loop");
    assert!(printed.contains("first: ") && printed.contains("second: "), "{printed}");
}
