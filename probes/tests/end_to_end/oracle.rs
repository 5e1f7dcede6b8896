//! The tracer against the oracle, which is independent of it: pages that the oracle finds shared
//! must be reported as moved, and pages that it finds private must not.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use bufferlist::EndpointKind;
use bufferlist::oracle::{Matrix, SinkColumn, Verdict};
use rustix::pipe::{SpliceFlags, tee};
use zctrace_probes::probe::{SetupErrorKind, announce};
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::Account;

use crate::fixtures::{
    Pipe, file_with, memfd, open_direct, pattern, pipe_with_slots, splice_all, splice_once, static_pages,
    tcp_connection, vmsplice_all,
};
use crate::harness::exclusive;
use test_support::skip;

const LEN: usize = 4 * 4096;

/// Puts pages of a source into a pipe.
/// The source stays open, because the kernel frees pages of a memfd that nothing holds any more as
/// soon as they leave the pipe, and then their owner is not known.
fn put(from: EndpointKind, dir: &Path, memory: &'static [u8]) -> (Pipe, Option<OwnedFd>) {
    let pipe = pipe_with_slots(16);
    let name = dir.join("source");
    let mut kept = None;
    let n = match from {
        EndpointKind::File => splice_once(file_with(&name, &pattern(LEN)), Some(&mut 0), &pipe.write, None, LEN),
        EndpointKind::DirectFile => {
            drop(file_with(&name, &pattern(LEN)));
            splice_once(open_direct(&name), Some(&mut 0), &pipe.write, None, LEN)
        }
        EndpointKind::Tmpfs => {
            let source: OwnedFd = memfd(&pattern(LEN)).into();
            let n = splice_once(&source, Some(&mut 0), &pipe.write, None, LEN);
            kept = Some(source);
            n
        }
        EndpointKind::Memory => vmsplice_all(memory, &pipe),
        other => panic!("no row: {other:?}"),
    };
    assert_eq!(n, LEN);
    (pipe, kept)
}

/// Moves pages on from a pipe, in the way that a column of the matrix names.
fn on(pipe: &Pipe, column: SinkColumn, dir: &Path) {
    let to_pipe = pipe_with_slots(16);
    match column {
        SinkColumn::Pipe => {}
        SinkColumn::PipeToPipe => drop(splice_all(&pipe.read, None, &to_pipe.write, None, LEN)),
        SinkColumn::Tee => assert_eq!(
            tee(&pipe.read, &to_pipe.write, LEN, SpliceFlags::empty()).expect("tee"),
            LEN
        ),
        SinkColumn::Memfd => drop(splice_all(&pipe.read, None, &memfd(&[]), Some(0), LEN)),
        SinkColumn::File => drop(splice_all(
            &pipe.read,
            None,
            &file_with(&dir.join("sink"), &[]),
            Some(0),
            LEN,
        )),
        SinkColumn::DirectFile => drop(splice_all(
            &pipe.read,
            None,
            &open_direct(&dir.join("direct")),
            Some(0),
            LEN,
        )),
        SinkColumn::TcpReceived => {
            let (near, _far) = tcp_connection();
            splice_all(&pipe.read, None, &near, None, LEN);
        }
        SinkColumn::TcpToPipe => {
            let (near, far) = tcp_connection();
            splice_all(&pipe.read, None, &near, None, LEN);
            splice_all(&far, None, &to_pipe.write, None, LEN);
        }
        SinkColumn::UnixToPipe => {
            let (near, far) = UnixStream::pair().expect("socketpair");
            splice_all(&pipe.read, None, &near, None, LEN);
            splice_all(&far, None, &to_pipe.write, None, LEN);
        }
        SinkColumn::Udp => {
            let far = UdpSocket::bind("127.0.0.1:0").expect("bind");
            let near = UdpSocket::bind("127.0.0.1:0").expect("bind");
            near.connect(far.local_addr().expect("address")).expect("connect");
            splice_all(&pipe.read, None, &near, None, LEN);
        }
        other => panic!("no column: {other:?}"),
    }
}

/// Returns the verdicts of all splices of a cell together.
fn verdict(tracer: &mut Tracer) -> Account {
    let report = tracer.interval_report(10_000);
    assert!(!report.loss.any(), "{:?}", report.loss);
    report.check().expect("a report that keeps its rules");
    let spliced = |edge: &&zctrace_report::Edge| {
        use zctrace_report::Call::{Splice, Tee, Vmsplice};
        matches!(edge.call, Splice | Tee | Vmsplice)
    };
    report
        .edges
        .iter()
        .filter(spliced)
        .fold(Account::default(), |mut sum, edge| {
            sum += &edge.account;
            sum
        })
}

#[test]
fn the_tracer_agrees_with_the_oracle() {
    const TEST: &str = "oracle::the_tracer_agrees_with_the_oracle";
    let _exclusive = exclusive();
    let dir = tempfile::tempdir().expect("tempdir");
    let matrix = Matrix::probe(dir.path());
    let memory = &*static_pages(LEN);
    let mut tracer = match Tracer::start(Options::default()) {
        Ok(tracer) => tracer,
        Err(error) if matches!(error.kind, SetupErrorKind::NoPrivilege { .. }) => {
            return skip!(TEST, "{error}");
        }
        Err(error) => panic!("{error}\n{}", error.hint()),
    };
    announce(tracer.cookie());
    let mut asked = 0;
    for (from, column, answer) in matrix.cells() {
        let cell = format!("{} to {}", from.name(), column.name());
        let Ok(answer) = answer else {
            skip!(TEST, "{cell}: the oracle has no answer here");
            continue;
        };
        let (pipe, _kept) = put(from, dir.path(), memory);
        on(&pipe, column, dir.path());
        let account = verdict(&mut tracer);
        asked += 1;
        let by_device = from == EndpointKind::DirectFile || column == SinkColumn::DirectFile;
        let (moved, copied, unknown) = (account.moved > 0, account.copied > 0, account.unknown > 0);
        match answer {
            // Datagrams are not traced.
            _ if column == SinkColumn::Udp => assert!(unknown && !copied, "{cell}: {account:?}"),
            Verdict::Shared => assert!(moved && !copied && !unknown, "{cell}: {account:?}"),
            // Nothing moves into a page cache, whatever its way into the pipe.
            Verdict::Private if matches!(column, SinkColumn::Memfd | SinkColumn::File) => {
                assert_eq!(account.copied, LEN as u64, "{cell}: {account:?}");
            }
            Verdict::Private => assert!(by_device && moved && !copied && !unknown, "{cell}: {account:?}"),
        }
    }
    assert!(asked >= 20, "{matrix}");
}
