//! Initial state: bytes that were in pipes before tracing began, and their consumers.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::EndpointKind::{File, Pipe as PipeEnd, Tcp};
use zctrace_report::Report;

use crate::fixtures::{
    Pipe, file_with, pattern, pipe, pipe_with_slots, receive, splice_all, splice_once, tcp_connection,
};
use crate::harness::{Totals, exclusive, moved, started_or_skip, totals, unknown};

/// Returns a tracer of this process that has taken a snapshot of open files.
fn snapshotted_tracer(test: &str) -> Option<Tracer> {
    let options = Options {
        snapshot_open_files: true,
        ..Options::default()
    };
    let mut tracer = started_or_skip(test, Tracer::start(options))?;
    tracer.follow(std::process::id()).expect("room for one process");
    tracer.snapshot_open_files(&[]).expect("the kernel shows what is open");
    Some(tracer)
}

fn finish(tracer: Tracer) -> Report {
    let report = tracer.finish(1000);
    assert!(!report.loss.any(), "{:?}", report.loss);
    if let Err(violations) = report.check() {
        panic!("{violations:?}");
    }
    report
}

/// Returns a connection whose peer reads this many bytes and compares them.
fn read_by_another(bytes: Vec<u8>) -> (TcpStream, std::thread::JoinHandle<()>) {
    let (near, far) = tcp_connection();
    let far = receive(far, bytes.len());
    let compared = std::thread::spawn(move || assert!(far.join().expect("received") == bytes));
    (near, compared)
}

#[test]
fn pre_existing_bytes_of_a_pipe_move_from_the_pipe() {
    const TEST: &str = "initial_state::pre_existing_bytes_of_a_pipe_move_from_the_pipe";
    // More slots than a record has page ranges, and a ring that has wrapped: its snapshot takes
    // several records.
    const PAGES: usize = 60;
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(PAGES * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let pipe = pipe_with_slots(64);
    splice_all(&source, Some(0), &pipe.write, None, 40 * 4096);
    std::fs::File::from(pipe.read.try_clone().expect("dup"))
        .read_exact(&mut vec![0; 40 * 4096])
        .expect("read");
    splice_all(&source, Some(0), &pipe.write, None, bytes.len());
    // And a part of the first page is gone.
    std::fs::File::from(pipe.read.try_clone().expect("dup"))
        .read_exact(&mut [0; 100])
        .expect("read");
    let (near, compared) = read_by_another(bytes[100..].to_vec());
    let Some(tracer) = snapshotted_tracer(TEST) else { return };
    splice_all(&pipe.read, None, &near, None, bytes.len() - 100);
    compared.join().expect("the same bytes");
    let report = finish(tracer);
    assert_eq!(totals(&report, &PipeEnd, &Tcp), moved(bytes.len() - 100));
    let inode = rustix::fs::fstat(&pipe.read).expect("fstat").st_ino;
    let row = report.pipes.iter().find(|row| row.inode == inode);
    let row = row.expect("the pipe is in the list");
    assert_eq!((row.slots, row.used_slots, row.max_used_slots), (64, 0, 60), "{row:?}");
}

#[test]
fn empty_pipe_is_known_to_be_empty() {
    const TEST: &str = "initial_state::empty_pipe_is_known_to_be_empty";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(8 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let pipe = pipe();
    let (near, compared) = read_by_another(bytes.clone());
    let Some(tracer) = snapshotted_tracer(TEST) else { return };
    splice_all(&source, Some(0), &pipe.write, None, bytes.len());
    splice_all(&pipe.read, None, &near, None, bytes.len());
    compared.join().expect("the same bytes");
    let report = finish(tracer);
    assert_eq!(totals(&report, &File, &Tcp), moved(bytes.len()));
    assert_eq!(totals(&report, &PipeEnd, &Tcp), Totals::default());
}

#[test]
fn unread_bytes_of_a_pipe_are_no_flow() {
    const TEST: &str = "initial_state::unread_bytes_of_a_pipe_are_no_flow";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(5 * 4096));
    let pipe = pipe();
    splice_all(&source, Some(0), &pipe.write, None, 5 * 4096);
    let Some(tracer) = snapshotted_tracer(TEST) else { return };
    let report = finish(tracer);
    assert!(report.flows.is_empty(), "{:?}", report.flows);
    let inode = rustix::fs::fstat(&pipe.read).expect("fstat").st_ino;
    let row = report.pipes.iter().find(|row| row.inode == inode);
    let row = row.expect("the pipe is in the list");
    let own = std::process::id();
    assert_eq!(
        (row.used_slots, row.bytes, row.calls),
        (5, Some(5 * 4096), 0),
        "{row:?}"
    );
    assert_eq!(row.pids, [own], "{row:?}");
}

/// An untraced process that reads this many bytes from a pipe on a signal.
pub(crate) struct UntracedReader(Child);

impl UntracedReader {
    pub(crate) fn new(pipe: &Pipe, bytes: usize) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("kill -STOP $$; exec head -c {bytes}")])
            .stdin(pipe.read.try_clone().expect("dup"))
            .stdout(Stdio::null())
            .spawn();
        let reader = Self(child.expect("sh"));
        let stat = format!("/proc/{}/stat", reader.0.id());
        while !std::fs::read_to_string(&stat).expect("it lives").contains(") T ") {
            std::thread::sleep(Duration::from_millis(1));
        }
        reader
    }

    pub(crate) fn take(mut self) {
        // SAFETY: kill takes no pointers; the PID is that of a child that has not been waited for.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGCONT) };
        assert!(self.0.wait().expect("wait").success());
    }
}

impl Drop for UntracedReader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn pipe_changed_by_an_untraced_process_is_unknown() {
    const TEST: &str = "initial_state::pipe_changed_by_an_untraced_process_is_unknown";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(8 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    for taken in [100, 4096, 5000] {
        let pipe = pipe();
        splice_all(&source, Some(0), &pipe.write, None, bytes.len());
        let reader = UntracedReader::new(&pipe, taken);
        let (near, compared) = read_by_another(bytes[taken..].to_vec());
        let Some(tracer) = snapshotted_tracer(TEST) else { return };
        // After the snapshot, and unobserved.
        reader.take();
        splice_all(&pipe.read, None, &near, None, bytes.len() - taken);
        compared.join().expect("the same bytes");
        let report = finish(tracer);
        assert_eq!(
            totals(&report, &PipeEnd, &Tcp),
            unknown(bytes.len() - taken),
            "{taken} bytes were taken by somebody else"
        );
    }
}

#[test]
fn replaced_page_in_a_slot_is_detected() {
    const TEST: &str = "initial_state::replaced_page_in_a_slot_is_detected";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(2 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let pipe = pipe();
    assert_eq!(splice_once(&source, Some(&mut 0), &pipe.write, None, 4096), 4096);
    let reader = UntracedReader::new(&pipe, 4096);
    let (near, compared) = read_by_another(bytes[4096..].to_vec());
    let Some(tracer) = snapshotted_tracer(TEST) else { return };
    reader.take();
    // The ring has as many slots in use as before, with as many bytes, at another position.
    assert_eq!(splice_once(&source, Some(&mut 4096), &pipe.write, None, 4096), 4096);
    splice_all(&pipe.read, None, &near, None, 4096);
    compared.join().expect("the same bytes");
    let report = finish(tracer);
    // The producer was observed, but the state it found is not that of the snapshot.
    let flow = |from| totals(&report, from, &Tcp);
    assert_eq!((flow(&File).copied, flow(&PipeEnd).moved), (0, 0), "{:?}", report.flows);
    assert_eq!(flow(&File).total() + flow(&PipeEnd).total(), 4096);
}
