//! python3's own functions for passing on files: `socket.sendfile` and `shutil`.

use zctrace_report::{EndpointKind, Report};

use crate::harness::Trace;
use crate::totals::{MEMORY, TCP, any, assert_both, copied, edges, file, flows, moved, overview};

const LEN: usize = (3 << 20) + 321;

fn run(trace: &mut Trace, text: &str) {
    trace.text("it.py", text);
    trace.run("exec python3 -I -S -B it.py");
}

#[test]
fn python_socket_sendfile_moves_the_file() {
    const SCRIPT: &str = "
import socket, threading
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
with open('a.bin', 'rb') as source:
    sent = near.sendfile(source)
near.close()
thread.join()
assert sent == got, (sent, got)
";
    let Some(mut trace) = Trace::start("python_socket_sendfile_moves_the_file", &["python3"]) else {
        return;
    };
    let path = trace.file("a.bin", LEN);
    run(&mut trace, SCRIPT);
    let report = trace.finish();
    assert_both(&report, file(&path), TCP, &moved(LEN as u64));
    assert_both(&report, TCP, MEMORY, &copied(LEN as u64));
    assert_eq!(flows(&report, file(&path), MEMORY).total(), 0, "{}", overview(&report));
}

fn copy(test: &str, script: &str) -> Option<(Report, std::path::PathBuf, std::path::PathBuf)> {
    let mut trace = Trace::start(test, &["python3"]).filter(|trace| trace.is_on_ext4(test))?;
    let source = trace.file("a.bin", LEN);
    run(&mut trace, script);
    let sink = trace.path("b.bin");
    assert_eq!(
        std::fs::read(&source).expect("read"),
        std::fs::read(&sink).expect("read")
    );
    Some((trace.finish(), source, sink))
}

#[test]
fn python_copyfile_copies_in_the_kernel() {
    const TEST: &str = "python_copyfile_copies_in_the_kernel";
    let Some((report, source, sink)) = copy(TEST, "import shutil; shutil.copyfile('a.bin', 'b.bin')") else {
        return;
    };
    assert_both(&report, file(&source), file(&sink), &copied(LEN as u64));
    assert_eq!(
        flows(&report, MEMORY, any(&EndpointKind::File)).total(),
        0,
        "{}",
        overview(&report)
    );
}

#[test]
fn python_copyfileobj_copies_through_its_memory() {
    const TEST: &str = "python_copyfileobj_copies_through_its_memory";
    let script = "
import shutil
with open('a.bin', 'rb') as source, open('b.bin', 'wb') as sink:
    shutil.copyfileobj(source, sink)
";
    let Some((report, source, sink)) = copy(TEST, script) else {
        return;
    };
    assert_both(&report, file(&source), MEMORY, &copied(LEN as u64));
    assert_both(&report, MEMORY, file(&sink), &copied(LEN as u64));
    assert_eq!(
        edges(&report, file(&source), file(&sink)).total(),
        0,
        "{}",
        overview(&report)
    );
}
