//! bindfs: a filesystem in a traced program, and its traced clients.

use std::path::Path;

use zctrace_contract::Reason;
use zctrace_report::{EndpointKind, Report};

use crate::harness::Trace;
use crate::mounted::Mounted;
use crate::totals::{MEMORY, TCP, any, assert_both, bytes_with_reasons, copied, edges, file, flows, moved, overview};

const LEN: u64 = (1 << 20) + 321;

const SENDFILE: &str = "
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
with open('mnt/a.bin', 'rb') as source:
    sent = near.sendfile(source)
near.close()
thread.join()
assert sent == got, (sent, got)
";

/// Sums a figure of libfuse's debug log, which names the length of each message on /dev/fuse.
fn sum(log: &str, name: &str) -> u64 {
    let figures = log.split(name).skip(1).map(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse::<u64>().expect("a number")
    });
    figures.sum()
}

/// Serves the directory `data` at `mnt` by a traced bindfs while a script runs there, and returns
/// the report with the daemon's log.
fn serve(test: &str, programs: &[&str], script: &str) -> Option<(Report, std::path::PathBuf, String)> {
    let mut trace = Trace::start_in(test, programs, |dir| {
        // bindfs mounts above this one, in the same namespace, and goes away with it.
        let mut mounted = Mounted::default();
        mounted.add(&["-t", "tmpfs", "tmpfs"], &dir.join("mnt"))?;
        std::fs::create_dir(dir.join("data")).expect("a directory");
        if Path::new("/dev/fuse").exists() {
            Ok(mounted)
        } else {
            Err("this kernel has no /dev/fuse".to_owned())
        }
    })?;
    trace.file("data/a.bin", LEN as usize);
    trace.text("sendfile.py", SENDFILE);
    let daemon = trace.spawn("exec bindfs -d data mnt 2>log");
    let mnt = trace.path("mnt");
    trace.until("a mount of bindfs", || {
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        mounts.lines().any(|line| {
            let mut words = line.split(' ').skip(1);
            words.next() == mnt.to_str() && words.next().is_some_and(|kind| kind.starts_with("fuse"))
        })
    });
    trace.run(script);
    let unmount = trace.shell("umount mnt");
    trace.wait(unmount);
    trace.wait(daemon);
    let log = std::fs::read_to_string(trace.path("log")).expect("read");
    let data = trace.path("data");
    Some((trace.finish(), data, log))
}

/// Asserts that the daemon's reads and writes of /dev/fuse are those of its own log.
fn assert_device(report: &Report, log: &str) {
    let device = any(&EndpointKind::Device);
    assert_both(report, device, MEMORY, &copied(sum(log, "insize: ")));
    assert_both(report, MEMORY, device, &copied(sum(log, "outsize: ")));
}

/// Returns the endpoint of a client's file. The mount is younger than the trace, so that only the
/// path inside the filesystem is known.
fn in_mount(name: &'static str) -> crate::totals::EndpointMatch<'static> {
    file(Path::new(name))
}

#[test]
fn sendfile_from_fuse_moves_the_pages_that_the_daemon_filled() {
    const TEST: &str = "sendfile_from_fuse_moves_the_pages_that_the_daemon_filled";
    let script = "exec python3 -I -S -B sendfile.py";
    let Some((report, data, log)) = serve(TEST, &["bindfs", "python3"], script) else {
        return;
    };
    // The page cache of the mount is the client's source. The daemon filled it from its memory.
    assert_both(&report, in_mount("a.bin"), TCP, &moved(LEN));
    assert_both(&report, TCP, MEMORY, &copied(LEN));
    assert_both(&report, file(&data.join("a.bin")), MEMORY, &copied(LEN));
    assert_device(&report, &log);
}

#[test]
fn cp_through_fuse_is_copied_by_client_and_daemon() {
    const TEST: &str = "cp_through_fuse_is_copied_by_client_and_daemon";
    let script = "exec cp --reflink=never mnt/a.bin mnt/b.bin";
    let Some((report, data, log)) = serve(TEST, &["bindfs", "cp"], script) else {
        return;
    };
    assert_both(&report, in_mount("a.bin"), MEMORY, &copied(LEN));
    assert_both(&report, MEMORY, in_mount("b.bin"), &copied(LEN));
    assert_both(&report, file(&data.join("a.bin")), MEMORY, &copied(LEN));
    assert_both(&report, MEMORY, file(&data.join("b.bin")), &copied(LEN));
    assert_device(&report, &log);
}

#[test]
fn copy_file_range_within_fuse_is_unknown() {
    const TEST: &str = "copy_file_range_within_fuse_is_unknown";
    let script = "exec cp mnt/a.bin mnt/b.bin";
    let Some((report, data, log)) = serve(TEST, &["bindfs", "cp"], script) else {
        return;
    };
    // The daemon could have cloned both files: no contract says what a FUSE filesystem does.
    let (from, to) = (in_mount("a.bin"), in_mount("b.bin"));
    let inside = edges(&report, from, to);
    assert_eq!(inside.unknown, inside.total(), "{}", overview(&report));
    assert_eq!(
        bytes_with_reasons(&report, from, to, &[Reason::NotObserved]),
        inside.unknown
    );
    let rest = LEN - inside.unknown;
    assert_both(&report, from, MEMORY, &copied(rest));
    assert_both(&report, MEMORY, to, &copied(rest));
    assert_eq!(
        flows(&report, file(&data.join("a.bin")), MEMORY),
        copied(LEN),
        "{}",
        overview(&report)
    );
    assert_both(&report, MEMORY, file(&data.join("b.bin")), &copied(LEN));
    assert_device(&report, &log);
}
