//! Tests of a replay on a terminal. The recording is synthetic: one minute, in which three files
//! are written one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use zctrace_probes::trace::{Input, Recorder, TraceHeader};
use zctrace_recording::Writer;
use zctrace_records::{IoCounterKey, IoCounters, endpoint_kind, nr};

use super::terminal::Terminal;
use super::{Directory, TAKEN, viewer, zctrace};

const SECOND: u64 = 1_000_000_000;

/// Writes of programs to files of their own: time in seconds, and size in MiB.
const WRITES: [(u64, u64); 3] = [(1, 1), (25, 2), (55, 4)];

/// Creates the recording.
fn made_up(directory: &Directory) -> PathBuf {
    let path = directory.0.join("made-up.zct");
    let file = Writer::create(&path).expect("a file");
    let (mut writer, handle) = Writer::start(file, &TraceHeader::default(), "1.2.3").expect("a head");
    for (number, (seconds, mebibytes)) in (1..).zip(WRITES) {
        let key = IoCounterKey {
            ino: number,
            tgid: 7,
            dev: 1,
            nr: nr::WRITE,
            kind: endpoint_kind::FILE,
            ..IoCounterKey::default()
        };
        let sum = IoCounters {
            bytes: mebibytes << 20,
            calls: mebibytes,
            first_ns: seconds * SECOND,
            last_ns: seconds * SECOND,
            ..IoCounters::default()
        };
        writer.take(&Input::Time(seconds * SECOND));
        writer.take(&Input::IoCounters(&[(key, sum)]));
    }
    writer.take(&Input::End);
    writer.take(&Input::Time(60 * SECOND));
    drop(writer);
    handle.finish().expect("all is written");
    path
}

fn replay(path: &Path, more: &[&str]) -> Terminal {
    let path = path.to_str().expect("a path");
    viewer(&[&["replay", path], more].concat(), (110, 30))
}

/// Waits until the header shows a position and a number of delivered bytes.
fn wait_at(terminal: &mut Terminal, badge: &str, arrived: &str) {
    let arrived = format!("{arrived} delivered");
    terminal.wait_for(&format!("{badge}, and {arrived}"), |text| {
        text.contains(badge) && text.contains(&arrived)
    });
}

#[test]
fn replay_plays_pauses_and_seeks() {
    let directory = Directory::new("replay");
    let mut terminal = replay(&made_up(&directory), &[]);
    // The replay runs by itself up to the first write.
    let text = terminal.wait_for("the first file", |text| {
        text.contains(" REPLAY ") && text.contains("1.0 MiB delivered")
    });
    assert!(text.contains(" of 00:01:00, 1x"), "{text}");
    terminal.press(" ");
    terminal.wait(" PAUSED ");
    // No time passes while the replay is paused, so that each position is known.
    terminal.press("[[[[[[");
    terminal.wait(" PAUSED 00:00:00 of 00:01:00, 1x");
    terminal.wait("No bytes were delivered up to this time");
    terminal.press("]");
    wait_at(&mut terminal, " PAUSED 00:00:10 of 00:01:00", "1.0 MiB");
    terminal.press("]]");
    wait_at(&mut terminal, " PAUSED 00:00:30 of 00:01:00", "3.0 MiB");
    terminal.press("[");
    wait_at(&mut terminal, " PAUSED 00:00:20 of 00:01:00", "1.0 MiB");
    terminal.press("+");
    terminal.wait("00:00:20 of 00:01:00, 2x");
    terminal.press("--");
    terminal.wait("00:00:20 of 00:01:00, 0.5x");
    // At full speed the replay runs to its end. There it stops, and cannot seek further.
    terminal.press(&"+".repeat(20));
    terminal.wait(", 1024x");
    terminal.press(" ");
    wait_at(&mut terminal, " END 00:01:00 of 00:01:00, 1024x", "7.0 MiB");
    terminal.press("]");
    terminal.press(&"-".repeat(20));
    terminal.wait(" END 00:01:00 of 00:01:00, 0.015625x");
    // At its end the replay starts again, now so slowly that it stays at its start for a minute.
    terminal.press(" ");
    terminal.wait(" REPLAY 00:00:00 of 00:01:00, 0.015625x");
    terminal.press("]");
    wait_at(&mut terminal, " REPLAY 00:00:10 of 00:01:00", "1.0 MiB");
    terminal.press("q");
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    assert_eq!(terminal.left_behind(), [""; 0]);
}

#[test]
fn replay_options_change_the_display() {
    let directory = Directory::new("replay-options");
    let path = made_up(&directory);
    let mut terminal = replay(
        &path,
        &[
            "--speed",
            "max",
            "--until",
            "30s",
            "--ascii",
            "--theme",
            "none",
            "--filter",
            "bytes>=2MiB",
        ],
    );
    let text = terminal.wait_for("the end", |text| {
        text.contains(" END 00:00:30 of 00:00:30, 1x") && text.contains("hides 1 flow |")
    });
    assert!(text.is_ascii() && !terminal.is_colored(), "{text}");
    terminal.press("Q");
    assert_eq!(terminal.end(), 0);
    assert_eq!(terminal.left_behind(), [""; 0]);
    let text = String::from_utf8_lossy(&terminal.written).into_owned();
    let after = text.rsplit("\x1b[?1049l").next().expect("the screen from before");
    assert!(after.contains("3.0 MiB delivered"), "{after}");

    let mut terminal = replay(&path, &["--from", "20s", "--speed", "0.001"]);
    wait_at(&mut terminal, " REPLAY 00:00:20 of 00:01:00, 0.001x", "1.0 MiB");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);

    // Options of reports disable the viewer.
    let mut command = zctrace();
    command
        .arg("replay")
        .arg(&path)
        .args(["--speed", "max", "--every", "1m"]);
    let mut terminal = Terminal::start(command, 110, 30).expect("a terminal");
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    assert!(!terminal.written.windows(TAKEN.len()).any(|window| window == TAKEN));
    assert!(terminal.text().contains("7.0 MiB delivered"), "{}", terminal.text());
}

#[test]
fn damaged_recording_reports_the_unused_part() {
    let directory = Directory::new("replay-damaged");
    let path = made_up(&directory);
    let whole = fs::read(&path).expect("it is there");
    fs::write(&path, &whole[..whole.len() - 1]).expect("it can be cut");
    let output = zctrace()
        .arg("replay")
        .arg(&path)
        .args(["--speed", "max"])
        .stdin(Stdio::null())
        .output()
        .expect("zctrace");
    assert_eq!(output.status.code(), Some(3));
    let printed = String::from_utf8(output.stderr).expect("text");
    assert!(printed.contains("the recording is cut short"), "{printed}");

    let mut terminal = replay(&path, &["--speed", "max"]);
    // The log has the full text.
    terminal.press("7");
    terminal.wait_for("the log", |text| {
        text.contains("[7 Log]") && text.contains("is cut short")
    });
    terminal.press("q");
    assert_eq!(terminal.end(), 3, "{}", terminal.text());
    assert_eq!(terminal.left_behind(), [""; 0]);
    let text = String::from_utf8_lossy(&terminal.written).into_owned();
    let after = text.rsplit("\x1b[?1049l").next().expect("the screen from before");
    assert!(
        after.replace('\r', "").contains(&printed),
        "{after:?} has not {printed:?}"
    );

    // A recording without a header cannot be shown.
    fs::write(&path, &whole[..20]).expect("it can be cut");
    let mut command = zctrace();
    command.arg("replay").arg(&path);
    let mut terminal = Terminal::start(command, 110, 30).expect("a terminal");
    assert_eq!(terminal.end(), 2, "{}", terminal.text());
    assert!(!terminal.written.windows(TAKEN.len()).any(|window| window == TAKEN));
}

/// The recording of `recording/tests/compat`: 256 KiB by sendfile, by splice and by write.
#[test]
fn shows_the_committed_recording() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recording/tests/compat/send-1.0.zct");
    let mut terminal = replay(&path, &["--speed", "max"]);
    terminal.wait_for("its end", |text| {
        text.contains(" END ") && ["sendfile", "splice", "write"].iter().all(|call| text.contains(call))
    });
    terminal.press("q");
    assert_eq!(terminal.end(), 0, "{}", terminal.text());
    assert_eq!(terminal.left_behind(), [""; 0]);
}
