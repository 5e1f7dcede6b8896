//! Programs that write more at once than a pipe holds, into a pipe that another one splices.

use zctrace_contract::Reason;
use zctrace_report::Report;

use crate::harness::{Trace, numbers};
use crate::totals::{MEMORY, PIPE, TCP, assert_both, bytes_with_reasons, copied, edges, file, flows, moved, overview};

/// Not a whole number of pages, and 16 times what a writer passes to the kernel at once.
const LEN: usize = (2 << 20) + 321;

/// Traces a pipeline of shell that reads a.bin, and returns the report with the path of b.bin.
fn pipeline(test: &str, programs: &[&str], script: &str) -> Option<(Report, std::path::PathBuf, std::path::PathBuf)> {
    let mut trace = Trace::start(test, programs).filter(|trace| trace.is_on_ext4(test))?;
    let source = trace.file("a.bin", LEN);
    trace.run(script);
    let sink = trace.path("b.bin");
    assert!(std::fs::read(&source).expect("read") == std::fs::read(&sink).expect("read"));
    Some((trace.finish(), source, sink))
}

/// Both programs write 128 KiB at once, twice what the pipe holds.
fn spliced_by_pv(test: &str, writer: &str, script: &str) {
    let Some((report, source, sink)) = pipeline(test, &[writer, "pv"], script) else {
        return;
    };
    let len = LEN as u64;
    assert_both(&report, file(&source), MEMORY, &copied(len));
    assert_eq!(edges(&report, MEMORY, PIPE), copied(len), "{}", overview(&report));
    assert_eq!(edges(&report, PIPE, file(&sink)), copied(len), "{}", overview(&report));
    assert_eq!(
        flows(&report, MEMORY, file(&sink)),
        copied(len),
        "{}",
        overview(&report)
    );
    let reasons = [Reason::FromMemory, Reason::PageCacheSink];
    assert_eq!(bytes_with_reasons(&report, MEMORY, file(&sink), &reasons), 2 * len);
}

#[test]
fn pv_splices_what_cat_wrote() {
    spliced_by_pv("pv_splices_what_cat_wrote", "cat", "cat a.bin | pv -q >b.bin");
}

#[test]
fn pv_splices_what_dd_wrote() {
    let script = "dd if=a.bin bs=128k status=none | pv -q >b.bin";
    spliced_by_pv("pv_splices_what_dd_wrote", "dd", script);
}

#[test]
fn pv_moves_a_file_into_a_pipe_and_from_pipe_to_pipe() {
    const TEST: &str = "pv_moves_a_file_into_a_pipe_and_from_pipe_to_pipe";
    let script = "pv -q a.bin | pv -q | cat >b.bin";
    let Some((report, source, sink)) = pipeline(TEST, &["pv", "cat"], script) else {
        return;
    };
    let len = LEN as u64;
    assert_eq!(edges(&report, file(&source), PIPE), moved(len), "{}", overview(&report));
    assert_eq!(edges(&report, PIPE, PIPE), moved(len), "{}", overview(&report));
    assert_eq!(edges(&report, PIPE, MEMORY), copied(len), "{}", overview(&report));
    assert_eq!(
        flows(&report, file(&source), MEMORY),
        copied(len),
        "{}",
        overview(&report)
    );
    assert_both(&report, MEMORY, file(&sink), &copied(len));
}

#[test]
fn python_splices_to_tcp_what_cat_wrote() {
    const TEST: &str = "python_splices_to_tcp_what_cat_wrote";
    const SCRIPT: &str = "
import os, socket, threading
listener = socket.create_server(('127.0.0.1', 0))
got = 0
def receive():
    global got
    far, _ = listener.accept()
    while part := far.recv(65536):
        got += len(part)
thread = threading.Thread(target=receive)
thread.start()
near = socket.create_connection(listener.getsockname())
sent = 0
while part := os.splice(0, near.fileno(), 1 << 20):
    sent += part
near.close()
thread.join()
open('figures', 'w').write(f'{sent} {got}')
";
    let Some(mut trace) = Trace::start(TEST, &["cat", "python3"]) else {
        return;
    };
    let source = trace.file("a.bin", LEN);
    trace.text("it.py", SCRIPT);
    trace.run("cat a.bin | python3 -I -S -B it.py");
    let len = LEN as u64;
    assert_eq!(numbers(&trace.path("figures")), [len, len]);
    let report = trace.finish();
    assert_both(&report, file(&source), MEMORY, &copied(len));
    assert_eq!(edges(&report, MEMORY, PIPE), copied(len), "{}", overview(&report));
    // The second half of a write overwrites the slots of the first, whose pages are then not known.
    // From memory to the socket every byte was copied once, whatever the splice did with it.
    let out = edges(&report, PIPE, TCP);
    assert_eq!(out.moved + out.unknown, len, "{}", overview(&report));
    assert_eq!(flows(&report, MEMORY, TCP), copied(len), "{}", overview(&report));
    assert_eq!(bytes_with_reasons(&report, MEMORY, TCP, &[Reason::FromMemory]), len);
    assert_both(&report, TCP, MEMORY, &copied(len));
}
