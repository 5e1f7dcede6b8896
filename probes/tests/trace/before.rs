//! Initial state: bytes that were in pipes before tracing began, and their consumers.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::EndKind::{File, Pipe as PipeEnd, Tcp};
use zctrace_report::Report;

use crate::calls::{Pipe, all, file_with, once, pattern, pipe, plain_connection, receive, wide_pipe};
use crate::harness::{Sum, alone, begun, moved, sum, unknown};

/// Returns a tracer of this process that has taken a snapshot of open files.
fn looked_around(test: &str) -> Option<Tracer> {
    let options = Options {
        snapshot_open_files: true,
        ..Options::default()
    };
    let mut tracer = begun(test, Tracer::start(options))?;
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
    let (near, far) = plain_connection();
    let far = receive(far, bytes.len());
    let compared = std::thread::spawn(move || assert!(far.join().expect("received") == bytes));
    (near, compared)
}

#[test]
fn bytes_that_lay_in_a_pipe_move_from_there() {
    const TEST: &str = "before::bytes_that_lay_in_a_pipe_move_from_there";
    // More slots than a record has page ranges, and a ring that has wrapped: its snapshot takes
    // several records.
    const PAGES: usize = 60;
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(PAGES * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let pipe = wide_pipe(64);
    all(&source, Some(0), &pipe.write, None, 40 * 4096);
    std::fs::File::from(pipe.read.try_clone().expect("dup"))
        .read_exact(&mut vec![0; 40 * 4096])
        .expect("read");
    all(&source, Some(0), &pipe.write, None, bytes.len());
    // And a part of the first page is gone.
    std::fs::File::from(pipe.read.try_clone().expect("dup"))
        .read_exact(&mut [0; 100])
        .expect("read");
    let (near, compared) = read_by_another(bytes[100..].to_vec());
    let Some(tracer) = looked_around(TEST) else { return };
    all(&pipe.read, None, &near, None, bytes.len() - 100);
    compared.join().expect("the same bytes");
    let report = finish(tracer);
    assert_eq!(sum(&report, &PipeEnd, &Tcp), moved(bytes.len() - 100));
    let inode = rustix::fs::fstat(&pipe.read).expect("fstat").st_ino;
    let row = report.pipes.iter().find(|row| row.inode == inode);
    let row = row.expect("the pipe is in the list");
    assert_eq!((row.slots, row.used, row.most_used), (64, 0, 60), "{row:?}");
}

#[test]
fn an_empty_pipe_is_known_to_be_empty() {
    const TEST: &str = "before::an_empty_pipe_is_known_to_be_empty";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(8 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let pipe = pipe();
    let (near, compared) = read_by_another(bytes.clone());
    let Some(tracer) = looked_around(TEST) else { return };
    all(&source, Some(0), &pipe.write, None, bytes.len());
    all(&pipe.read, None, &near, None, bytes.len());
    compared.join().expect("the same bytes");
    let report = finish(tracer);
    assert_eq!(sum(&report, &File, &Tcp), moved(bytes.len()));
    assert_eq!(sum(&report, &PipeEnd, &Tcp), Sum::default());
}

#[test]
fn what_nobody_takes_out_is_no_flow() {
    const TEST: &str = "before::what_nobody_takes_out_is_no_flow";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("a"), &pattern(5 * 4096));
    let pipe = pipe();
    all(&source, Some(0), &pipe.write, None, 5 * 4096);
    let Some(tracer) = looked_around(TEST) else { return };
    let report = finish(tracer);
    assert!(report.flows.is_empty(), "{:?}", report.flows);
    let inode = rustix::fs::fstat(&pipe.read).expect("fstat").st_ino;
    let row = report.pipes.iter().find(|row| row.inode == inode);
    let row = row.expect("the pipe is in the list");
    let own = std::process::id();
    assert_eq!((row.used, row.bytes, row.calls), (5, Some(5 * 4096), 0), "{row:?}");
    assert_eq!(row.pids, [own], "{row:?}");
}

/// An untraced process that reads this many bytes from a pipe when it is told to.
struct Taker(Child);

impl Taker {
    fn new(pipe: &Pipe, bytes: usize) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("kill -STOP $$; exec head -c {bytes}")])
            .stdin(pipe.read.try_clone().expect("dup"))
            .stdout(Stdio::null())
            .spawn();
        let taker = Self(child.expect("sh"));
        let stat = format!("/proc/{}/stat", taker.0.id());
        while !std::fs::read_to_string(&stat).expect("it lives").contains(") T ") {
            std::thread::sleep(Duration::from_millis(1));
        }
        taker
    }

    fn take(mut self) {
        // SAFETY: kill takes no pointers; the PID is that of a child that has not been waited for.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGCONT) };
        assert!(self.0.wait().expect("wait").success());
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_somebody_else_has_changed_is_unknown() {
    const TEST: &str = "before::what_somebody_else_has_changed_is_unknown";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(8 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    for taken in [100, 4096, 5000] {
        let pipe = pipe();
        all(&source, Some(0), &pipe.write, None, bytes.len());
        let taker = Taker::new(&pipe, taken);
        let (near, compared) = read_by_another(bytes[taken..].to_vec());
        let Some(tracer) = looked_around(TEST) else { return };
        // After the snapshot, and unobserved.
        taker.take();
        all(&pipe.read, None, &near, None, bytes.len() - taken);
        compared.join().expect("the same bytes");
        let report = finish(tracer);
        assert_eq!(
            sum(&report, &PipeEnd, &Tcp),
            unknown(bytes.len() - taken),
            "{taken} bytes were taken by somebody else"
        );
    }
}

#[test]
fn another_page_in_a_slot_is_found_out() {
    const TEST: &str = "before::another_page_in_a_slot_is_found_out";
    let _alone = alone();
    let dir = tempfile::tempdir().expect("tempdir");
    let bytes = pattern(2 * 4096);
    let source = file_with(&dir.path().join("a"), &bytes);
    let pipe = pipe();
    assert_eq!(once(&source, Some(&mut 0), &pipe.write, None, 4096), 4096);
    let taker = Taker::new(&pipe, 4096);
    let (near, compared) = read_by_another(bytes[4096..].to_vec());
    let Some(tracer) = looked_around(TEST) else { return };
    taker.take();
    // The ring has as many slots in use as before, with as many bytes, at another position.
    assert_eq!(once(&source, Some(&mut 4096), &pipe.write, None, 4096), 4096);
    all(&pipe.read, None, &near, None, 4096);
    compared.join().expect("the same bytes");
    let report = finish(tracer);
    // The producer was observed, but the state it found is not that of the snapshot.
    let flow = |from| sum(&report, from, &Tcp);
    assert_eq!((flow(&File).copied, flow(&PipeEnd).moved), (0, 0), "{:?}", report.flows);
    assert_eq!(flow(&File).total() + flow(&PipeEnd).total(), 4096);
}
