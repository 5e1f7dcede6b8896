//! Copies injected into a zero-copy path of `bufferlist`: each is found, with its bytes, its
//! reason, its process and its call site.
//!
//! Only the kernel's evidence is used here: the library's own account, which knows source lines, is
//! not consulted.

use std::fs::File as OpenFile;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};

use bufferlist::{BufferList, Side, Sink, Source, Step};
use rustix::event::{PollFd, PollFlags};
use zctrace_report::EndpointKind::{DirectFile, File, Memory, Pipe as InPipe, Tcp};
use zctrace_report::{Call, EndpointKind, Report};

use crate::child::{Child, attach, is_child, signal_ready};
use crate::fixtures::{file_with, open_direct, pattern, receive, tcp_connection};
use crate::harness::{Totals, copied, exclusive, moved, reasons, reasons_of, totals, traced_with_reader};

/// Bytes to move in total, and at a time.
const LEN: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
/// The piece into which a copy is injected: one in the middle.
const INJECTED: usize = 7;

/// Moves a whole file to a sink, piece by piece. `plant` receives the piece in the middle and
/// returns the replacement.
fn through(source: &OpenFile, sink: &mut Sink<impl AsFd>, inject: impl Fn(BufferList) -> BufferList) {
    let mut source = Source::file(source, ..).expect("a source");
    for chunk in 0.. {
        let mut list = BufferList::new();
        while (list.len() as usize) < CHUNK {
            match list
                .splice_from(&mut source, CHUNK as u64 - list.len())
                .expect("splice")
            {
                Step::Moved(_) => {}
                Step::End => break,
                Step::Blocked(side) => panic!("a file made us wait for the {side:?}"),
            }
        }
        if list.is_empty() {
            return;
        }
        if chunk == INJECTED {
            list = inject(list);
        }
        while !list.is_empty() {
            match list.splice_to(sink).expect("splice") {
                Step::Moved(_) => {}
                Step::Blocked(Side::Sink) => wait_for_room(sink.get_ref()),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Waits until a socket is writable.
fn wait_for_room(sink: impl AsFd) {
    let mut fds = [PollFd::new(&sink, PollFlags::OUT)];
    rustix::event::poll(&mut fds, None).expect("poll");
}

/// Runs `scene` under a trace, in a process of its own. Returns its PID and the report, or `None`
/// in that process and where tracing is impossible.
fn in_a_process(test: &str, scene: impl FnOnce()) -> Option<(u32, Report)> {
    if is_child() {
        attach();
        scene();
        // Call sites are resolved while the process lives.
        signal_ready();
        return None;
    }
    let _exclusive = exclusive();
    let mut pid = 0;
    let report = traced_with_reader(test, |cookie, reader| {
        let mut child = Child::start(test, cookie);
        pid = child.id();
        child.wait_ready();
        reader.catch_up();
        child.resume();
        child.wait_success();
    })?;
    Some((pid, report))
}

/// Moves bytes over a pipe to a TCP connection.
fn to_tcp(sent: &[u8], inject: impl Fn(BufferList) -> BufferList) {
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("source"), &pattern(LEN));
    let (near, far): (TcpStream, TcpStream) = tcp_connection();
    near.set_nonblocking(true).expect("nonblocking");
    let far = receive(far, sent.len());
    through(&source, &mut Sink::stream(near).expect("a sink"), inject);
    assert!(far.join().expect("received") == sent);
}

/// Returns whether all named call sites are in the program itself, one per row.
fn assert_in_this_program<'a>(call_sites: impl Iterator<Item = Option<&'a zctrace_report::CallSite>>) {
    let own = std::env::current_exe().expect("its path");
    let own = format!("{}+0x", own.display());
    let mut rows = 0;
    for call_site in call_sites {
        let object = call_site
            .and_then(|call_site| call_site.object.as_deref())
            .expect("a place");
        let offset = object
            .strip_prefix(&own)
            .unwrap_or_else(|| panic!("{object} is not in {own}"));
        assert!(
            u64::from_str_radix(offset, 16).is_ok_and(|offset| offset > 0),
            "{object}"
        );
        rows += 1;
    }
    assert!(rows > 0, "nothing has a place");
}

/// Returns the call sites of what a process copied by one call, with the reason and the bytes of
/// each.
fn copies_by<'a>(report: &'a Report, pid: u32, call: &Call, to: &EndpointKind) -> Vec<&'a zctrace_report::Cause> {
    let edges = report.edges.iter().filter(|edge| edge.account.copied > 0);
    let edges = edges.filter(|edge| edge.pid == Some(pid) && edge.call == *call && edge.to.endpoint.kind == *to);
    edges.flat_map(|edge| &edge.reasons).collect()
}

/// Returns the peeks: reason, bytes, calls, process.
fn peeks(report: &Report) -> Vec<(&str, u64, u64, Option<u32>)> {
    let all = report.peeks.iter();
    all.map(|peek| (peek.code.as_str(), peek.bytes, peek.calls, peek.pid))
        .collect()
}

#[test]
fn nothing_is_copied_without_an_injected_copy() {
    const TEST: &str = "injected_copies::nothing_is_copied_without_an_injected_copy";
    let Some((_, report)) = in_a_process(TEST, || to_tcp(&pattern(LEN), |list| list)) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(totals(&report, &Memory, &Tcp), Totals::default());
    assert_eq!(peeks(&report), []);
}

#[test]
fn a_peek_in_the_middle() {
    const TEST: &str = "injected_copies::a_peek_in_the_middle";
    const PEEKED: usize = 4321;
    let scene = || {
        to_tcp(&pattern(LEN), |list| {
            let at = INJECTED * CHUNK + 10_000;
            let peeked = list.peek(10_000..10_000 + PEEKED as u64).expect("a look");
            assert!(peeked == pattern(LEN)[at..at + PEEKED]);
            list
        });
    };
    let Some((pid, report)) = in_a_process(TEST, scene) else {
        return;
    };
    // All bytes are still delivered zero-copy; the copy is beside them.
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(peeks(&report), [("ZC31", PEEKED as u64, 1, Some(pid))]);
    assert_eq!(report.peeks[0].method, "tee(2), then read(2)");
    assert_in_this_program(report.peeks.iter().map(|peek| peek.call_site.as_ref()));
}

#[test]
fn whole_chunk_as_bytes() {
    const TEST: &str = "injected_copies::whole_chunk_as_bytes";
    let scene = || {
        to_tcp(&pattern(LEN), |list| {
            let at = INJECTED * CHUNK;
            assert!(list.to_bytes().expect("bytes")[..] == pattern(LEN)[at..at + CHUNK]);
            list
        });
    };
    let Some((pid, report)) = in_a_process(TEST, scene) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(peeks(&report), [("ZC31", CHUNK as u64, 1, Some(pid))]);
    assert_in_this_program(report.peeks.iter().map(|peek| peek.call_site.as_ref()));
}

#[test]
fn chunk_read_into_memory_and_sent_from_there() {
    const TEST: &str = "injected_copies::chunk_read_into_memory_and_sent_from_there";
    let scene = || {
        to_tcp(&pattern(LEN), |list| {
            BufferList::from(list.to_bytes().expect("bytes").to_vec())
        });
    };
    let Some((pid, report)) = in_a_process(TEST, scene) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN - CHUNK),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(totals(&report, &Memory, &Tcp), copied(CHUNK));
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC14", CHUNK)]));
    let sent = copies_by(&report, pid, &Call::Send, &Tcp);
    assert_eq!(sent.iter().map(|cause| cause.bytes).sum::<u64>(), CHUNK as u64);
    assert_in_this_program(sent.into_iter().map(|cause| cause.call_site.as_ref()));
    assert_eq!(peeks(&report), [("ZC31", CHUNK as u64, 1, Some(pid))]);
}

#[test]
fn header_that_begins_and_ends_within_pages() {
    const TEST: &str = "injected_copies::header_that_begins_and_ends_within_pages";
    const HEADER: usize = 5001;
    let mut sent = pattern(LEN);
    let at = INJECTED * CHUNK;
    sent.splice(at..at, [7; HEADER]);
    let scene = || {
        to_tcp(&sent, |mut list| {
            // Memory of the allocator, offset by one byte.
            let mut headed = BufferList::from(vec![7; HEADER + 1]).split_off(1);
            headed.append(&mut list);
            headed
        });
    };
    let Some((pid, report)) = in_a_process(TEST, scene) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &Tcp),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &Tcp)
    );
    assert_eq!(totals(&report, &Memory, &Tcp), copied(HEADER));
    assert_eq!(reasons(&report, &Memory, &Tcp), reasons_of([("ZC14", HEADER)]));
    let sent = copies_by(&report, pid, &Call::Send, &Tcp);
    assert_eq!(
        sent.iter()
            .map(|cause| (cause.code.as_str(), cause.bytes))
            .collect::<Vec<_>>(),
        [("ZC14", HEADER as u64)]
    );
    assert_in_this_program(sent.into_iter().map(|cause| cause.call_site.as_ref()));
}

/// From a file to another, which is opened with `O_DIRECT` or not.
fn to_file(is_direct: bool, written: &[u8], inject: impl Fn(BufferList) -> BufferList) {
    let dir = tempfile::tempdir().expect("tempdir");
    let source = file_with(&dir.path().join("source"), &pattern(LEN));
    let path = dir.path().join("sink");
    let sink = if is_direct {
        open_direct(&path)
    } else {
        OpenFile::create(&path).expect("create")
    };
    through(&source, &mut Sink::file(sink, 0).expect("a sink"), inject);
    assert!(std::fs::read(&path).expect("read") == written);
}

#[test]
fn buffered_sink_instead_of_a_direct_one() {
    const TEST: &str = "injected_copies::buffered_sink_instead_of_a_direct_one";
    let scene = || {
        to_file(true, &pattern(LEN), |list| list);
        to_file(false, &pattern(LEN), |list| list);
    };
    let Some((pid, report)) = in_a_process(TEST, scene) else {
        return;
    };
    assert_eq!(
        totals(&report, &File, &DirectFile),
        moved(LEN),
        "{:?}",
        reasons(&report, &File, &DirectFile)
    );
    assert_eq!(totals(&report, &File, &File), copied(LEN));
    assert_eq!(reasons(&report, &File, &File), reasons_of([("ZC03", LEN)]));
    let spliced = copies_by(&report, pid, &Call::Splice, &File);
    assert_eq!(spliced.iter().map(|cause| cause.bytes).sum::<u64>(), LEN as u64);
    assert_in_this_program(spliced.into_iter().map(|cause| cause.call_site.as_ref()));
    // Only the last hop copies: none before the pipe did.
    assert!(copies_by(&report, pid, &Call::Splice, &InPipe).is_empty());
}

/// Makes a write(2) from a known instruction; returns the result of the call and its return
/// address.
#[inline(never)]
fn write_from_here(fd: i32, bytes: &[u8]) -> (i64, u64) {
    let (returned, after): (i64, u64);
    // SAFETY: write(2) reads the bytes, which live through the call; the kernel changes rax, rcx
    // and r11 only, which are declared.
    unsafe {
        std::arch::asm!(
            "lea {after}, [rip + 2f]",
            "syscall",
            "2:",
            after = out(reg) after,
            inlateout("rax") 1_i64 => returned,
            in("rdi") i64::from(fd),
            in("rsi") bytes.as_ptr(),
            in("rdx") bytes.len(),
            out("rcx") _,
            out("r11") _,
            options(nostack, readonly),
        );
    }
    (returned, after)
}

/// Returns the file offset of an address of this process, in the file that it was mapped from.
fn offset_in_file(address: u64) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let hex = |text| u64::from_str_radix(text, 16).expect("a number");
    let mapping = maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let (start, end, offset) = (hex(start), hex(end), hex(words.nth(1)?));
        (start..end).contains(&address).then(|| address - start + offset)
    });
    mapping.expect("mapped")
}

#[test]
fn call_site_is_the_exact_instruction() {
    const TEST: &str = "injected_copies::call_site_is_the_exact_instruction";
    const PLANT: &[u8] = &[7; 4097];
    let scene = || {
        let (near, far) = tcp_connection();
        let far = receive(far, PLANT.len());
        let (written, _) = write_from_here(near.as_raw_fd(), PLANT);
        assert_eq!(written, PLANT.len() as i64);
        far.join().expect("received");
    };
    let Some((pid, report)) = in_a_process(TEST, scene) else {
        return;
    };
    assert_eq!(totals(&report, &Memory, &Tcp), copied(PLANT.len()));
    // Here the program runs at another address, without such a descriptor.
    let (refused, after) = write_from_here(-1, PLANT);
    assert_eq!(refused, -i64::from(libc::EBADF));
    let own = std::env::current_exe().expect("its path");
    let there = format!("{}+{:#x}", own.display(), offset_in_file(after));
    let written = copies_by(&report, pid, &Call::Write, &Tcp);
    let call_sites = written.iter().map(|cause| {
        let call_site = cause.call_site.as_ref().expect("a place");
        (cause.bytes, cause.calls, call_site.object.as_deref().expect("a module"))
    });
    assert_eq!(
        call_sites.collect::<Vec<_>>(),
        [(PLANT.len() as u64, 1, there.as_str())]
    );
    let function = written[0]
        .call_site
        .as_ref()
        .and_then(|call_site| call_site.function.as_deref());
    assert!(
        function.is_some_and(|name| name.contains("write_from_here") && name.contains("+0x")),
        "{function:?}"
    );
}
