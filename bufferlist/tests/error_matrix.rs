//! The kernel's answers to a splice between every pair of endpoint kinds, and how the library
//! handles them.
//!
//! Both are printed as tables (`cargo test -p bufferlist --test error_matrix -- --nocapture`).
//! Answers that splice(2) documents are asserted exactly. Where kernels differ, every answer ever
//! observed is allowed, and the test asserts that the library handles each of them: the bytes are
//! delivered, or an error names the side and all bytes are still in the list.

mod common;

use bufferlist::{BufferList, Counts, ErrorKind, Reason, Side, Sink, Source, Step};
use common::{
    ErrnoTable, assert_same, contents, file_with, nonblocking_pipe, pattern, pipe_list, raw_splice, set_nonblocking,
};
use rustix::event::EventfdFlags;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use std::fmt::Write as _;
use std::io::Write as _;

/// Opens a path with `O_NONBLOCK`.
fn open(path: &str, flags: OFlags) -> OwnedFd {
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .unwrap_or_else(|errno| panic!("{path}: {errno}"))
}

/// Returns a non-empty file opened with `O_APPEND`.
fn appending() -> (tempfile::NamedTempFile, OwnedFd) {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(b"before ").expect("write");
    let path = file.path().to_str().expect("a path in UTF-8").to_owned();
    (file, open(&path, OFlags::WRONLY | OFlags::APPEND))
}

/// Returns a memfd that is sealed against writes.
fn sealed() -> OwnedFd {
    let memfd = rustix::fs::memfd_create("sealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memfd");
    rustix::io::write(&memfd, &[7; 8192]).expect("write");
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::WRITE).expect("seal");
    memfd
}

/// Returns an eventfd with a pending event.
fn eventfd() -> OwnedFd {
    rustix::event::eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd")
}

/// Returns both sides of a non-blocking pty without echo or line discipline, or `None` where there
/// are no ptys.
fn terminal() -> Option<(OwnedFd, OwnedFd)> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok()?;
    grantpt(&near).ok()?;
    unlockpt(&near).ok()?;
    let name = ptsname(&near, Vec::new()).ok()?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let far = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).ok()?;
    let mut mode = rustix::termios::tcgetattr(&far).ok()?;
    mode.make_raw();
    rustix::termios::tcsetattr(&far, rustix::termios::OptionalActions::Now, &mode).ok()?;
    Some((set_nonblocking(near), far))
}

/// Answers that splice(2) documents.
#[test]
fn kernel_errors_match_the_manual() {
    let mut raw = ErrnoTable::default();
    let full = || {
        let (read, write) = nonblocking_pipe();
        rustix::io::write(&write, b"some bytes").expect("write");
        (read, write)
    };
    let file = file_with(&[7; 10_000]);
    let invalid = [Err(Errno::INVAL)];

    let (read, write) = full();
    raw.row(
        "from a pipe to itself",
        raw_splice(&read, None, &write, None, 10),
        &invalid,
    );
    let (read, _write) = full();
    let (_file, appends) = appending();
    raw.row(
        "to a file that appends",
        raw_splice(&read, None, &appends, None, 10),
        &invalid,
    );
    let (read, _write) = full();
    let mut at = 5;
    let (_other_read, other) = nonblocking_pipe();
    raw.row(
        "to a pipe, with an offset for it",
        raw_splice(&file, None, &other, Some(&mut at), 10),
        &[Err(Errno::SPIPE)],
    );
    raw.row(
        "from a pipe, with an offset for it",
        raw_splice(&read, Some(&mut at), &file, None, 10),
        &[Err(Errno::SPIPE)],
    );
    raw.row(
        "from a file to a file",
        raw_splice(&file, None, file_with(b""), None, 10),
        &invalid,
    );
    let reader = open("/proc/self/exe", OFlags::RDONLY);
    raw.row(
        "to a file that is open for reading",
        raw_splice(&read, None, &reader, None, 10),
        &[Err(Errno::BADF)],
    );
    let (_file, writer) = appending();
    raw.row(
        "from a file that is open for writing",
        raw_splice(&writer, None, &other, None, 10),
        &[Err(Errno::BADF)],
    );
    raw.row(
        "with a flag that does not exist",
        rustix::pipe::splice(&file, None, &other, None, 10, SpliceFlags::from_bits_retain(0x80)),
        &invalid,
    );
    // 6.8 and 6.18 refuse a length that is negative as a ssize_t; a kernel that truncates it moves
    // the content of the pipe instead.
    raw.row(
        "usize::MAX bytes",
        raw_splice(&file, None, &other, None, usize::MAX),
        &invalid,
    );
    raw.row("no bytes", raw_splice(&read, None, &other, None, 0), &[Ok(0)]);
    let (empty, open_end) = nonblocking_pipe();
    raw.row(
        "from an empty pipe with a writer",
        raw_splice(&empty, None, &file, None, 10),
        &[Err(Errno::AGAIN)],
    );
    drop(open_end);
    raw.row(
        "from an empty pipe without",
        raw_splice(&empty, None, &file, None, 10),
        &[Ok(0)],
    );
    let (gone, write) = nonblocking_pipe();
    drop(gone);
    let mut at = 0;
    raw.row(
        "to a pipe without a reader",
        raw_splice(&file, Some(&mut at), &write, None, 10),
        &[Err(Errno::PIPE)],
    );
    raw.finish("splice(2), as promised:");
}

/// Answers of kernels for less common files, as sources and as sinks. 5.10 to 6.18 differ, so
/// several answers are allowed; the first of each row is that of 6.18.
#[test]
fn kernel_errors_for_unusual_files() {
    const INVAL: Result<usize, Errno> = Err(Errno::INVAL);
    let mut raw = ErrnoTable::default();
    let from = |fd: &OwnedFd| {
        let (_read, write) = nonblocking_pipe();
        raw_splice(fd, None, &write, None, 100)
    };
    let to = |fd: &OwnedFd| {
        let (read, write) = nonblocking_pipe();
        rustix::io::write(&write, b"eight..!").expect("write");
        raw_splice(&read, None, fd, None, 8)
    };
    let reading = |path: &str| open(path, OFlags::RDONLY);
    let writing = |path: &str| open(path, OFlags::WRONLY);

    raw.row("from an eventfd", from(&eventfd()), &[INVAL, Ok(8)]);
    raw.row("to an eventfd", to(&eventfd()), &[INVAL, Ok(8)]);
    raw.row("from a directory", from(&reading("/")), &[INVAL, Err(Errno::ISDIR)]);
    raw.row("from /dev/null", from(&reading("/dev/null")), &[INVAL, Ok(0)]);
    raw.row(
        "from /proc/self/maps",
        from(&reading("/proc/self/maps")),
        &[INVAL, Ok(100)],
    );
    raw.row("from /dev/zero", from(&reading("/dev/zero")), &[Ok(100), INVAL]);
    raw.row("from /dev/urandom", from(&reading("/dev/urandom")), &[Ok(100), INVAL]);
    raw.row("to /dev/null", to(&writing("/dev/null")), &[Ok(8)]);
    raw.row("to /dev/full", to(&writing("/dev/full")), &[INVAL, Err(Errno::NOSPC)]);
    raw.row("to a sealed memfd", to(&sealed()), &[Err(Errno::PERM)]);
    match terminal() {
        None => test_support::skip!("kernel_errors_for_unusual_files", "no terminal can be opened"),
        Some((near, far)) => {
            raw.row("to a terminal", to(&near), &[Ok(8), INVAL]);
            rustix::io::write(&near, b"eight..!").expect("write");
            common::wait_until("the terminal passes it on", || {
                let (_read, write) = nonblocking_pipe();
                let got = raw_splice(&far, None, &write, None, 100);
                if got == Err(Errno::AGAIN) {
                    return false;
                }
                raw.row("from a terminal", got, &[Ok(8), Ok(16), INVAL]);
                true
            });
        }
    }
    raw.finish("splice(2), odd files:");
}

/// Result of moving bytes through the library.
fn transfer_mode(counts: &Counts) -> String {
    match counts.iter().next() {
        None => "spliced".to_owned(),
        Some(count) => format!("copied, {} {:?}", count.reason, count.reason),
    }
}

/// The library handles each source that can be read at all.
#[test]
fn reads_from_every_readable_endpoint() {
    let bytes = pattern(10_000, 1);
    let mut table = String::new();
    let mut row = |what: &str, list: &BufferList, reasons: &[Option<Reason>]| {
        let _ = writeln!(
            table,
            "{what:<28} {:>6} bytes  {}",
            list.len(),
            transfer_mode(&list.counts())
        );
        let reason = list.counts().iter().next().map(|count| count.reason);
        assert!(reasons.contains(&reason), "{what}: {reason:?}");
    };
    let spliced = [None];
    let either = [None, Some(Reason::CannotSplice)];

    // Files.
    let file = file_with(&bytes);
    let list = common::fill_all(&mut Source::file(&file, ..).expect("source"), 1 << 20);
    row("a file", &list, &spliced);
    assert_same(&list.to_bytes().expect("peek"), &bytes);
    let memfd = sealed();
    let list = common::fill_all(&mut Source::file(&memfd, ..).expect("source"), 1 << 20);
    row("a sealed memfd", &list, &spliced);
    assert_same(&list.to_bytes().expect("peek"), &[7; 8192]);
    let maps = open("/proc/self/maps", OFlags::RDONLY);
    let list = common::fill_all(&mut Source::file(&maps, ..).expect("source"), 1 << 20);
    row("/proc/self/maps", &list, &either);
    assert!(list.to_bytes().expect("peek").windows(5).any(|word| word == b"stack"));
    let version = open("/proc/version", OFlags::RDONLY);
    let list = common::fill_all(&mut Source::file(&version, ..).expect("source"), 1 << 20);
    row("/proc/version", &list, &either);
    assert_same(
        &list.to_bytes().expect("peek"),
        &std::fs::read("/proc/version").expect("read"),
    );

    // Streams.
    let (read, write) = nonblocking_pipe();
    rustix::io::write(&write, &bytes).expect("write");
    drop(write);
    let list = common::fill_all(&mut Source::stream(read).expect("source"), 1 << 20);
    row("a pipe", &list, &spliced);
    assert_same(&list.to_bytes().expect("peek"), &bytes);
    let null = open("/dev/null", OFlags::RDONLY);
    let list = common::fill_all(&mut Source::stream(null).expect("source"), 1 << 20);
    assert!(list.is_empty(), "/dev/null is at its end");
    for (path, all_zero) in [("/dev/zero", true), ("/dev/urandom", false)] {
        let mut source = Source::stream(open(path, OFlags::RDONLY)).expect("source");
        let mut list = BufferList::new();
        let step = list.splice_from(&mut source, 8192).expect("step");
        assert!(step.receipt().total() > 0, "{path}: {step:?}");
        row(path, &list, &either);
        let bytes = list.to_bytes().expect("peek");
        assert_eq!(bytes.iter().all(|&byte| byte == 0), all_zero, "{path}");
    }
    let mut source = Source::stream(eventfd()).expect("source");
    let mut list = BufferList::new();
    assert!(matches!(list.splice_from(&mut source, 8192), Ok(Step::Moved(_))));
    row("an eventfd", &list, &either);
    assert_same(&list.to_bytes().expect("peek"), &1_u64.to_ne_bytes());
    match terminal() {
        None => test_support::skip!("reads_from_every_readable_endpoint", "no terminal can be opened"),
        Some((near, far)) => {
            rustix::io::write(&near, b"typed").expect("write");
            let mut source = Source::stream(far).expect("source");
            let mut list = BufferList::new();
            common::wait_until("the terminal passes it on", || {
                !list.splice_from(&mut source, 8192).expect("step").receipt().total() == 0 || list.len() == 5
            });
            row("a terminal", &list, &either);
            assert_same(&list.to_bytes().expect("peek"), b"typed");
        }
    }
    eprintln!("bufferlist, sources:\n{table}");
}

/// The library handles each sink that accepts bytes.
#[test]
fn writes_to_every_writable_endpoint() {
    let bytes = pattern(10_000, 2);
    let mut table = String::new();
    let mut row = |what: &str, list: &BufferList, reasons: &[Option<Reason>]| {
        let _ = writeln!(table, "{what:<28} {}", transfer_mode(&list.counts()));
        let reason = list.counts().iter().next().map(|count| count.reason);
        assert!(reasons.contains(&reason), "{what}: {reason:?}");
        assert!(list.is_empty(), "{what}");
    };
    let spliced = [None];
    let either = [None, Some(Reason::CannotSplice)];

    let file = file_with(b"");
    let mut list = pipe_list(&bytes);
    common::send_all(&mut list, &mut Sink::file(&file, 0).expect("sink"));
    row("a file", &list, &spliced);
    assert_same(&contents(&file), &bytes);

    let (file, appends) = appending();
    let mut list = pipe_list(&bytes);
    common::send_all(&mut list, &mut Sink::stream(&appends).expect("sink"));
    row("a file that appends", &list, &[Some(Reason::AppendSink)]);
    assert_same(&contents(file.as_file()), &[b"before ", &bytes[..]].concat());

    let null = open("/dev/null", OFlags::WRONLY);
    let mut list = pipe_list(&bytes);
    common::send_all(&mut list, &mut Sink::stream(null).expect("sink"));
    row("/dev/null", &list, &spliced);

    let (read, write) = nonblocking_pipe();
    let mut list = pipe_list(&bytes);
    common::send_all(&mut list, &mut Sink::stream(write).expect("sink"));
    row("a pipe", &list, &spliced);
    assert_same(&common::read_available(&read), &bytes);

    for kind in ["TCP", "UNIX"] {
        let (near, far) = common::stream_pair(kind);
        let mut list = pipe_list(&bytes);
        common::send_all(&mut list, &mut Sink::stream(set_nonblocking(near)).expect("sink"));
        row(&format!("a {kind} socket"), &list, &spliced);
        assert_same(&common::reader(far).join().expect("reader"), &bytes);
    }

    let event = eventfd();
    let mut list = pipe_list(&41_u64.to_ne_bytes());
    common::send_all(&mut list, &mut Sink::stream(&event).expect("sink"));
    row("an eventfd", &list, &either);
    assert_same(&common::read_available_once(&event), &42_u64.to_ne_bytes());

    match terminal() {
        None => test_support::skip!("writes_to_every_writable_endpoint", "no terminal can be opened"),
        Some((near, far)) => {
            let mut list = pipe_list(b"shown");
            common::send_all(&mut list, &mut Sink::stream(&far).expect("sink"));
            row("a terminal", &list, &either);
            let mut shown = Vec::new();
            common::wait_until("the terminal shows it", || {
                let mut buffer = [0; 100];
                if let Ok(got) = rustix::io::read(&near, &mut buffer) {
                    shown.extend_from_slice(&buffer[..got]);
                }
                shown.len() == 5
            });
            assert_same(&shown, b"shown");
        }
    }
    eprintln!("bufferlist, sinks:\n{table}");
}

/// Sinks that accept nothing: the error names the side and the cause, and all bytes are still in
/// the list, whatever their source.
#[test]
fn refusing_sinks_lose_no_bytes() {
    let bytes = pattern(10_000, 3);
    let mut table = String::new();
    let mut check =
        |what: &str, expected: (ErrorKind, Errno), offer: &dyn Fn(&mut BufferList) -> bufferlist::Result<Step>| {
            let extent = || {
                let file = OwnedFd::from(file_with(&bytes));
                BufferList::from(bufferlist::FileExtent::new(file, ..).expect("extent"))
            };
            let shared = pipe_list(&bytes);
            let _other_holder = shared.clone();
            let lists = [
                ("memory", BufferList::from(bytes.clone())),
                ("a pipe", pipe_list(&bytes)),
                ("a shared pipe", shared),
                ("a file", extent()),
            ];
            for (from, mut list) in lists {
                // Also on the second attempt: the sink remembers the failure, and the list has
                // changed its representation.
                for _ in 0..3 {
                    let error = offer(&mut list).expect_err(what);
                    let got = (error.kind(), error.raw_os_error());
                    assert_eq!(
                        got,
                        (expected.0, Some(expected.1.raw_os_error())),
                        "{what} from {from}: {error}"
                    );
                    assert_eq!(error.side(), Some(Side::Sink), "{what} from {from}");
                    assert_eq!(error.receipt().total(), 0, "{what} from {from}");
                    assert_same(&list.to_bytes().expect("peek"), &bytes);
                }
                let _ = writeln!(
                    table,
                    "{what:<28} from {from:<14} {:?} ({})",
                    expected.0,
                    common::errno_name(expected.1)
                );
            }
        };

    let full = open("/dev/full", OFlags::WRONLY);
    check("/dev/full", (ErrorKind::Io, Errno::NOSPC), &|list| {
        list.splice_to(&mut Sink::stream(&full)?)
    });
    let memfd = sealed();
    check("a sealed memfd", (ErrorKind::Io, Errno::PERM), &|list| {
        list.splice_to(&mut Sink::file(&memfd, 0)?)
    });
    let read_only = open("/proc/self/exe", OFlags::RDONLY);
    check("a file open for reading", (ErrorKind::Io, Errno::BADF), &|list| {
        list.splice_to(&mut Sink::file(&read_only, 0)?)
    });
    let (gone, write) = nonblocking_pipe();
    drop(gone);
    check("a pipe without a reader", (ErrorKind::Closed, Errno::PIPE), &|list| {
        list.splice_to(&mut Sink::stream(&write)?)
    });
    let (near, far) = common::unix_pair();
    let near = set_nonblocking(near);
    drop(far);
    check("a closed UNIX socket", (ErrorKind::Closed, Errno::PIPE), &|list| {
        list.splice_to(&mut Sink::stream(&near)?)
    });
    let unconnected = set_nonblocking(
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).expect("socket"),
    );
    check("an unconnected TCP socket", (ErrorKind::Closed, Errno::PIPE), &|list| {
        list.splice_to(&mut Sink::stream(&unconnected)?)
    });
    eprintln!("bufferlist, sinks that refuse:\n{table}");
}

/// One sink object, used again after its refusal.
#[test]
fn repeatedly_refusing_sink_loses_no_bytes() {
    let bytes = pattern(100_000, 4);
    let full = open("/dev/full", OFlags::WRONLY);
    let mut sink = Sink::stream(&full).expect("sink");
    let mut list = pipe_list(&bytes);
    for _ in 0..5 {
        let error = list.splice_to(&mut sink).expect_err("full");
        assert_eq!(error.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
        assert_eq!(list.len(), 100_000);
    }
    // The bytes are not lost: another sink receives them.
    let file = file_with(b"");
    common::send_all(&mut list, &mut Sink::file(&file, 0).expect("sink"));
    assert_same(&contents(&file), &bytes);
}

/// Endpoints that are refused at construction, before any byte moves.
#[test]
fn unsupported_endpoints_are_rejected() {
    type Refusal = fn(OwnedFd) -> ErrorKind;
    fn kind(result: bufferlist::Result<()>) -> ErrorKind {
        result.expect_err("refused").kind()
    }
    let directory = || open("/", OFlags::RDONLY | OFlags::DIRECTORY);
    let source: Refusal = |fd| kind(Source::stream(fd).map(drop));
    let file_source: Refusal = |fd| kind(Source::file(fd, ..).map(drop));
    let sink: Refusal = |fd| kind(Sink::stream(fd).map(drop));
    let file_sink: Refusal = |fd| kind(Sink::file(fd, 0).map(drop));
    let file = || OwnedFd::from(file_with(b"x"));
    let pipe = || nonblocking_pipe().0;

    for refused in [source, sink] {
        assert_eq!(refused(directory()), ErrorKind::InvalidInput);
        assert_eq!(refused(file()), ErrorKind::InvalidInput, "a file is no stream");
    }
    for refused in [file_source, file_sink] {
        assert_eq!(refused(directory()), ErrorKind::InvalidInput);
        assert_eq!(refused(pipe()), ErrorKind::InvalidInput, "a pipe has no offsets");
    }
    assert_eq!(
        file_sink(appending().1),
        ErrorKind::InvalidInput,
        "it would ignore the offset"
    );
    #[allow(clippy::reversed_empty_ranges)] // That is what is refused.
    let backwards = Source::file(file(), 10..5).map(drop);
    assert_eq!(kind(backwards), ErrorKind::InvalidInput);
}

/// Lengths that the kernel refuses, and lengths without meaning.
#[test]
fn boundary_lengths() {
    let bytes = pattern(10_000, 5);
    let file = file_with(&bytes);
    let mut source = Source::file(&file, ..).expect("source");
    let mut list = BufferList::new();
    // More than the kernel accepts in one call.
    assert!(matches!(list.splice_from(&mut source, u64::MAX), Ok(Step::Moved(_))));
    while let Step::Moved(_) = list.splice_from(&mut source, u64::MAX).expect("step") {}
    assert_same(&list.to_bytes().expect("peek"), &bytes);
    // A length of zero is a mistake of the caller, not the end of the file.
    let error = list.splice_from(&mut source, 0).expect_err("nothing");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // A range beyond the end, and an empty range, are the end.
    for range in [10_000..u64::MAX, 20_000..30_000, 5..5, u64::MAX - 1..u64::MAX] {
        let mut source = Source::file(&file, range.clone()).expect("source");
        match BufferList::new().splice_from(&mut source, 4096) {
            Ok(Step::End) => {}
            // The kernel treats an offset as a signed number.
            Err(error) if range.start > i64::MAX as u64 => assert_eq!(error.side(), Some(Side::Source)),
            other => panic!("{range:?}: {other:?}"),
        }
    }
    assert!(matches!(
        BufferList::new().splice_to(&mut Sink::file(&file, 0).expect("sink")),
        Ok(Step::End)
    ));
}
