//! Journals of other processes: found while they run; killed, forked, disabled, read by two
//! tracers, and forged ones.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

use bufferlist::{BufferList, Limits, Sink, Source, Step, Transfer, journal};
use zctrace_probes::probe::{SetupErrorKind, announce};
use zctrace_probes::trace::{Options, Tracer};
use zctrace_report::{Certificate, EndpointKind, JournalAgreement, Report};

use crate::child::{Child, attach, is_child, signal_ready};
use crate::fixtures::page_sized_connection;
use crate::harness::{exclusive, moved, totals, traced_child};
use test_support::skip;

const LEN: u64 = 1 << 20;
/// Time limit for an event; a longer wait is a hang. The benchmark `latency` measures the actual
/// times.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a file in the page cache.
fn file() -> File {
    let file = tempfile::tempfile().expect("a file");
    let bytes: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("write");
    file
}

fn wait_until_journal_is_read() {
    while !journal::has_watchers() {
        std::thread::yield_now();
    }
}

/// Sends the file over a connection of its own, from list to list.
fn send(from: &File) {
    let (near, mut far) = page_sized_connection();
    let drained = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).expect("read");
        bytes.len() as u64
    });
    let source = Source::file(from, ..).expect("source");
    let limits = Limits::default().len(LEN);
    let mut transfer = Transfer::new(source, Sink::stream(near).expect("sink")).limits(limits);
    transfer.run().expect("send");
    drop(transfer);
    assert_eq!(drained.join().expect("drained"), LEN);
}

/// Returns a tracer, if this machine can trace.
fn tracer(test: &str) -> Option<Tracer> {
    match Tracer::start(Options::default()) {
        Ok(tracer) => Some(tracer),
        Err(error) if matches!(error.kind, SetupErrorKind::NoPrivilege { .. }) => {
            skip!(test, "{error}");
            None
        }
        Err(error) => panic!("{error}\n{}", error.hint()),
    }
}

/// Polls while another thread works.
fn while_polling<T: Send>(tracers: &mut [&mut Tracer], body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let body = scope.spawn(body);
        while !body.is_finished() {
            for tracer in tracers.iter_mut() {
                tracer.poll();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        body.join().expect("it goes well")
    })
}

fn assert_named(report: &Report, bytes: u64) {
    let named: u64 = report
        .flows
        .iter()
        .filter_map(|flow| flow.certificate.as_ref())
        .flat_map(Certificate::segments)
        .map(|names| {
            assert_eq!(names.agreement, JournalAgreement::Agrees, "{names:?}");
            names.bytes
        })
        .sum();
    assert_eq!(named, bytes, "{:#?}", report.flows);
    let disagree = report
        .segments
        .iter()
        .find(|row| row.agreement != JournalAgreement::Agrees);
    assert!(disagree.is_none(), "{disagree:?}");
}

#[test]
fn peek_is_reported_while_the_program_runs() {
    const TEST: &str = "journal_children::peek_is_reported_while_the_program_runs";
    if is_child() {
        // Everything is created after the tracer has attached.
        attach();
        let from = file();
        let mut list = BufferList::new();
        let mut source = Source::file(&from, ..).expect("source");
        loop {
            while list.len() < LEN && matches!(list.splice_from(&mut source, 65_536), Ok(Step::Moved(_))) {}
            let peek = list.slice(70_000..70_100);
            peek.to_bytes().expect("look");
            if journal::has_watchers() {
                break;
            }
            list = BufferList::new();
            source = Source::file(&from, ..).expect("source");
        }
        list.slice(80_000..80_200)
            .to_bytes()
            .expect("the look that is to be told");
        return signal_ready();
    }
    let _exclusive = exclusive();
    let Some(mut tracer) = tracer(TEST) else { return };
    let cookie = tracer.cookie();
    let mut child = Child::start(TEST, cookie);
    let mut child = while_polling(&mut [&mut tracer], move || {
        child.wait_ready();
        child
    });
    let began = Instant::now();
    let has_peek = |report: &Report| {
        let mut peeks = report.peeks.iter();
        peeks.any(|peek| peek.operation == "to_bytes" && peek.bytes >= 200 && peek.call_site.is_some())
    };
    let mut report = tracer.report(100);
    while !has_peek(&report) {
        assert!(began.elapsed() < TIMEOUT, "{:#?}", report.peeks);
        std::thread::sleep(Duration::from_millis(1));
        report = tracer.report(100);
    }
    // The report is available as JSON although the program has not ended: it waits for the test.
    let json = report.to_json();
    assert!(json.contains("journal_children.rs"), "{json}");
    child.resume();
    child.wait_success();
    let report = tracer.finish(100);
    report.check().expect("the numbers add up");
    let peek = report
        .peeks
        .iter()
        .find(|peek| peek.operation == "to_bytes")
        .expect("told");
    assert!(!peek.thread.is_empty() && peek.first_unix_ms.is_some(), "{peek:?}");
}

#[test]
fn operations_of_a_killed_program_are_named() {
    const TEST: &str = "journal_children::operations_of_a_killed_program_are_named";
    if is_child() {
        journal::init();
        attach();
        wait_until_journal_is_read();
        let from = file();
        send(&from);
        std::thread::spawn(signal_ready);
        loop {
            send(&from);
        }
    }
    let _exclusive = exclusive();
    let report = traced_child(TEST, |cookie| {
        let mut child = Child::start(TEST, cookie);
        child.wait_ready();
        child.kill();
    });
    let Some(report) = report else { return };
    let moved = totals(&report, &EndpointKind::File, &EndpointKind::Tcp).moved;
    assert!(moved >= LEN, "{moved}");
    let wrong = report
        .segments
        .iter()
        .find(|row| row.agreement == JournalAgreement::Disagrees);
    assert!(wrong.is_none(), "{wrong:?}");
    let certificates = report.flows.iter().filter_map(|flow| flow.certificate.as_ref());
    let names: Vec<_> = certificates.flat_map(Certificate::segments).collect();
    assert!(
        names.iter().all(|names| names.agreement != JournalAgreement::Disagrees),
        "{names:?}"
    );
    // The process may have been killed in the middle of its last record.
    assert!(
        names
            .iter()
            .any(|names| names.agreement == JournalAgreement::Agrees && names.bytes == LEN),
        "{names:?}"
    );
}

#[test]
fn forked_child_has_its_own_names() {
    const TEST: &str = "journal_children::forked_child_has_its_own_names";
    if is_child() {
        journal::init();
        attach();
        wait_until_journal_is_read();
        let from = file();
        send(&from);
        // SAFETY: fork in a process with threads: the child continues with this thread alone, uses
        // no lock that another thread may hold, and ends by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = std::panic::catch_unwind(|| {
                // Its own journal is created with its first pipe.
                while !(journal::init() && journal::has_watchers()) {
                    send(&from);
                }
                send(&from);
            });
            // SAFETY: _exit takes no pointers and ends the process.
            unsafe { libc::_exit(i32::from(code.is_err())) };
        }
        let mut status = 0;
        // SAFETY: waitpid waits for the child above and writes to a live int.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        return send(&from);
    }
    let _exclusive = exclusive();
    let report = traced_child(TEST, |cookie| crate::child::run(TEST, cookie));
    let Some(report) = report else { return };
    let mut pids: Vec<u32> = report.segments.iter().filter_map(|row| row.pid).collect();
    pids.dedup();
    assert_eq!(pids.len(), 2, "{pids:?}\n{:#?}", report.coverage.not_covered);
    for row in &report.segments {
        assert_eq!(row.agreement, JournalAgreement::Agrees, "{row:?}");
    }
    let mut whole = std::collections::BTreeSet::new();
    for flow in &report.flows {
        let Some(certificate) = &flow.certificate else { continue };
        for names in certificate.segments() {
            assert_eq!(names.pid, flow.pid, "the other's names");
            // The child had sent some bytes before its journal was found.
            if names.bytes == LEN {
                whole.insert(names.pid);
            }
        }
    }
    assert_eq!(whole.len(), 2, "both have sent all of it while they were watched");
}

/// Traces a child that has called [`signal_ready`]. It continues after the tracer has observed it
/// and searched for its journal.
fn met(test: &str, environment: &[(&str, &str)]) -> Option<Report> {
    let mut tracer = tracer(test)?;
    let mut child = Child::start_with(test, tracer.cookie(), environment);
    let mut child = while_polling(&mut [&mut tracer], move || {
        child.wait_ready();
        child
    });
    tracer.poll();
    while_polling(&mut [&mut tracer], move || {
        child.resume();
        child.wait_success();
    });
    let report = tracer.finish(10_000);
    assert_eq!(report.check(), Ok(()));
    Some(report)
}

#[test]
fn missing_journal_is_reported_once_and_is_no_error() {
    const TEST: &str = "journal_children::missing_journal_is_reported_once_and_is_no_error";
    if is_child() {
        assert!(!journal::init());
        attach();
        signal_ready();
        return send(&file());
    }
    let _exclusive = exclusive();
    let report = met(TEST, &[(journal::ENV_VAR, "0")]);
    let Some(report) = report else { return };
    assert_eq!(
        totals(&report, &EndpointKind::File, &EndpointKind::Tcp),
        moved(LEN as usize)
    );
    assert!(report.segments.is_empty());
    let rows: Vec<_> = report
        .coverage
        .not_covered
        .iter()
        .filter(|row| row.operation.contains("BUFFERLIST_JOURNAL=0"))
        .collect();
    assert_eq!(rows.len(), 1, "{:#?}", report.coverage.not_covered);
}

#[test]
fn last_of_two_tracers_clears_the_journal_flag() {
    const TEST: &str = "journal_children::last_of_two_tracers_clears_the_journal_flag";
    if is_child() {
        journal::init();
        attach();
        let second = std::env::var("SECOND_COOKIE").expect("a cookie");
        announce(second.parse().expect("a number"));
        wait_until_journal_is_read();
        signal_ready();
        let from = file();
        send(&from);
        signal_ready();
        // One reader has left, and the other one continues.
        assert!(journal::has_watchers());
        send(&from);
        signal_ready();
        assert!(!journal::has_watchers(), "nobody is there any more");
        return;
    }
    let _exclusive = exclusive();
    let (Some(mut one), Some(mut two)) = (tracer(TEST), tracer(TEST)) else {
        return;
    };
    let mut child = Child::start_with(TEST, one.cookie(), &[("SECOND_COOKIE", &two.cookie().to_string())]);
    let mut child = while_polling(&mut [&mut one, &mut two], move || {
        child.wait_ready();
        child
    });
    // Both tracers have seen the process now: they look for journals in the poll that first sees a
    // process.
    one.poll();
    two.poll();
    let mut child = while_polling(&mut [&mut one, &mut two], move || {
        child.resume();
        child.wait_ready();
        child
    });
    let report = one.finish(1000);
    assert_named(&report, LEN);
    let mut child = while_polling(&mut [&mut two], move || {
        child.resume();
        child.wait_ready();
        child
    });
    let report = two.finish(1000);
    assert_named(&report, 2 * LEN);
    child.resume();
    child.wait_success();
}

/// A future version of the format.
const NEWER: u8 = 200;

/// A memfd with the name of a journal.
fn memfd(seals: i32, bytes: &[u8]) -> File {
    let name = std::ffi::CString::new(journal::MEMFD_NAME).expect("a name");
    // SAFETY: memfd_create reads a NUL-terminated string, which is a literal.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_ALLOW_SEALING) };
    assert!(fd >= 0);
    // SAFETY: the descriptor was just created and has no other owner.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes).expect("write");
    if seals != 0 {
        // SAFETY: fcntl is called with an owned descriptor and an integer argument.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    }
    file
}

#[test]
fn fake_journal_files_are_rejected_with_a_reason() {
    const TEST: &str = "journal_children::fake_journal_files_are_rejected_with_a_reason";
    if is_child() {
        let kind = std::env::var("HOSTILE").expect("what to be");
        let mut header = vec![0_u8; 4096];
        header[..8].copy_from_slice(b"BUFLJRNL");
        let _journal = match kind.as_str() {
            "shrinks" => memfd(0, &[0; 4096]),
            "garbage" => memfd(libc::F_SEAL_SHRINK, &[0xa5; 4096]),
            "empty" => memfd(libc::F_SEAL_SHRINK, &[]),
            "damaged" => {
                header[8] = 1;
                memfd(libc::F_SEAL_SHRINK, &header)
            }
            "newer" => {
                header[8] = NEWER;
                memfd(libc::F_SEAL_SHRINK, &header)
            }
            other => panic!("{other}"),
        };
        attach();
        signal_ready();
        return send(&file());
    }
    let _exclusive = exclusive();
    for (kind, says) in [
        ("shrinks", "not sealed against shrinking"),
        ("garbage", "it is no journal"),
        ("empty", "its size"),
        ("damaged", "its header is damaged"),
        ("newer", "version 200"),
    ] {
        // Its own journal is off, so that only the forged one exists.
        let report = met(TEST, &[("HOSTILE", kind), (journal::ENV_VAR, "0")]);
        let Some(report) = report else { return };
        assert_eq!(
            totals(&report, &EndpointKind::File, &EndpointKind::Tcp),
            moved(LEN as usize)
        );
        let rows = &report.coverage.not_covered;
        assert!(rows.iter().any(|row| row.operation.contains(says)), "{kind}: {rows:#?}");
        assert!(report.segments.is_empty());
    }
}

#[test]
fn overwritten_journal_changes_no_verdict() {
    const TEST: &str = "journal_children::overwritten_journal_changes_no_verdict";
    if is_child() {
        journal::init();
        attach();
        wait_until_journal_is_read();
        let links = std::fs::read_dir("/proc/self/fd").expect("descriptors");
        let own = links
            .map(|entry| entry.expect("a descriptor").path())
            .find(|link| std::fs::read_link(link).is_ok_and(|to| to.to_string_lossy().contains(journal::MEMFD_NAME)))
            .expect("its journal");
        let file = File::options().read(true).write(true).open(own).expect("open");
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // splitmix64: arbitrary words at arbitrary positions, including the header.
                let mut state = 1_u64;
                let mut next = || {
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    mixed ^ (mixed >> 27)
                };
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let word = if next() % 2 == 0 { next() % 64 } else { next() % 131_072 };
                    let value = if next() % 2 == 0 { next() } else { next() % 1000 };
                    let bytes = value.to_ne_bytes();
                    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, word * 8).expect("scribble");
                }
            });
            let from = self::file();
            (0..20).for_each(|_| send(&from));
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        return;
    }
    let _exclusive = exclusive();
    let report = scribbled(TEST);
    let Some(report) = report else { return };
    assert_eq!(
        totals(&report, &EndpointKind::File, &EndpointKind::Tcp),
        moved(20 * LEN as usize)
    );
}

/// Like `traced_child`, for a journal that reports lost records.
fn scribbled(test: &str) -> Option<Report> {
    let mut tracer = tracer(test)?;
    let cookie = tracer.cookie();
    while_polling(&mut [&mut tracer], || crate::child::run(test, cookie));
    let report = tracer.finish(10_000);
    assert_eq!(report.check(), Ok(()));
    Some(report)
}
