//! FIFOs that all processes closed and opened again: another pipe, often in the same memory.

use std::fs::{File as StdFile, OpenOptions};
use std::io::Write;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use zctrace_probes::probe::announce;
use zctrace_report::EndpointKind::{File, Memory, Pipe as InPipe, Tcp};

use crate::child::{self, Child, is_child};
use crate::fixtures::{file_with, memfd, pattern, receive, splice_all, splice_once, tcp_connection};
use crate::harness::{Totals, copied, exclusive, flows, moved, reasons, totals, traced, traced_child, unknown};

const PAGE: usize = 4096;
/// Path of the FIFO, for the child.
const FIFO: &str = "ZCTRACE_TEST_FIFO";

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("mkfifo");
}

/// Opens both ends of a FIFO by one descriptor, which never waits.
fn open_both(path: &Path) -> StdFile {
    OpenOptions::new().read(true).write(true).open(path).expect("open")
}

fn pin_to_the_first_cpu() {
    let mut set = rustix::thread::CpuSet::new();
    set.set(0);
    rustix::thread::sched_setaffinity(None, &set).expect("sched_setaffinity");
}

/// An untraced process fills the second life of a FIFO, in the page that a file had in the first.
#[test]
fn bytes_that_another_process_wrote_into_a_reopened_fifo_are_not_the_files() {
    const TEST: &str = "cases::lives::bytes_that_another_process_wrote_into_a_reopened_fifo_are_not_the_files";
    const ROUNDS: usize = 200;
    if is_child() {
        pin_to_the_first_cpu();
        let path = std::env::var_os(FIFO).expect("a path");
        child::signal_ready();
        for _ in 0..ROUNDS {
            let mut fifo = open_both(path.as_ref());
            fifo.write_all(&[b'x'; PAGE]).expect("write");
            child::signal_ready();
            drop(fifo);
            child::signal_ready();
        }
        return;
    }
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("fifo");
    make_fifo(&path);
    let Some(report) = traced_child(TEST, |cookie| {
        let mut other = Child::start_with(TEST, cookie, &[(FIFO, path.to_str().expect("a path"))]);
        other.wait_ready();
        pin_to_the_first_cpu();
        announce(cookie);
        let (near, far) = tcp_connection();
        let far = receive(far, ROUNDS * PAGE);
        for _ in 0..ROUNDS {
            let source = memfd(&pattern(PAGE));
            let first = open_both(&path);
            assert_eq!(splice_once(&source, Some(&mut 0), &first, None, PAGE), PAGE);
            // The file is gone before the pipe: closing the pipe frees the page.
            drop(source);
            drop(first);
            other.resume();
            other.wait_ready();
            let second = StdFile::open(&path).expect("open");
            splice_all(&second, None, &near, None, PAGE);
            drop(second);
            other.resume();
            other.wait_ready();
        }
        other.resume();
        other.wait_success();
        assert!(far.join().expect("received").iter().all(|byte| *byte == b'x'));
    }) else {
        return;
    };
    assert!(flows(&report, &File, &Tcp).is_empty(), "{:#?}", report.flows);
    assert_eq!(
        totals(&report, &InPipe, &Tcp),
        unknown(ROUNDS * PAGE),
        "{:?}",
        reasons(&report, &InPipe, &Tcp)
    );
}

#[test]
fn each_life_of_a_fifo_has_its_own_file() {
    const TEST: &str = "cases::lives::each_life_of_a_fifo_has_its_own_file";
    const ROUNDS: usize = 20;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("fifo");
    make_fifo(&path);
    let one = file_with(&dir.path().join("one"), &pattern(PAGE));
    let other = file_with(&dir.path().join("other"), &pattern(2 * PAGE));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, ROUNDS * 3 * PAGE);
        for _ in 0..ROUNDS {
            for (source, len) in [(&one, PAGE), (&other, 2 * PAGE)] {
                let fifo = open_both(&path);
                assert_eq!(splice_once(source, Some(&mut 0), &fifo, None, len), len);
                splice_all(&fifo, None, &near, None, len);
            }
        }
        far.join().expect("received");
    }) else {
        return;
    };
    let mut sent: Vec<_> = flows(&report, &File, &Tcp)
        .iter()
        .map(|flow| {
            (
                flow.from.name.rsplit('/').next().unwrap_or_default(),
                flow.account.moved,
            )
        })
        .collect();
    sent.sort_unstable();
    let expected = [("one", ROUNDS * PAGE), ("other", ROUNDS * 2 * PAGE)];
    assert_eq!(
        sent,
        expected.map(|(name, len)| (name, len as u64)),
        "{:#?}",
        report.flows
    );
    assert_eq!(totals(&report, &File, &Tcp), moved(ROUNDS * 3 * PAGE));
}

/// The first life ends with a page of a file in it, which no process took.
#[test]
fn bytes_written_into_the_second_life_of_a_fifo_are_copied() {
    const TEST: &str = "cases::lives::bytes_written_into_the_second_life_of_a_fifo_are_copied";
    const ROUNDS: usize = 20;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("fifo");
    make_fifo(&path);
    let source = file_with(&dir.path().join("a"), &pattern(PAGE));
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        let far = receive(far, ROUNDS * PAGE);
        for _ in 0..ROUNDS {
            let first = open_both(&path);
            assert_eq!(splice_once(&source, Some(&mut 0), &first, None, PAGE), PAGE);
            drop(first);
            let mut second = open_both(&path);
            second.write_all(&[7; PAGE]).expect("write");
            splice_all(&second, None, &near, None, PAGE);
        }
        assert!(far.join().expect("received").iter().all(|byte| *byte == 7));
    }) else {
        return;
    };
    assert_eq!(
        totals(&report, &Memory, &Tcp),
        copied(ROUNDS * PAGE),
        "{:#?}",
        report.flows
    );
    assert!(flows(&report, &File, &Tcp).is_empty(), "{:#?}", report.flows);
    assert_eq!(totals(&report, &InPipe, &Tcp), Totals::default());
}
