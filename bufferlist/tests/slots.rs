//! A pipe's capacity is slots, not bytes: the consequences for plain system calls, and that the
//! library's lists of tiny, unaligned and oversized segments neither lose a byte nor use up pipes.

mod common;

use bufferlist::{BufferList, Pool, Reason, SegmentKind, Side, Sink, Source, Step};
use common::{
    Child, ErrnoTable, assert_same, contents, file_with, nonblocking_pipe, page, pattern, pipe_list, raw_splice,
    set_nonblocking, stream_pair, tcp_pair,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};

/// Returns a pipe of sixteen slots, whatever the system's default.
fn sixteen() -> (OwnedFd, OwnedFd) {
    let (read, write) = nonblocking_pipe();
    fcntl_setpipe_size(&write, 16 * page()).expect("F_SETPIPE_SZ");
    (read, write)
}

/// Splices the byte at `at` into a pipe. Always the same byte: up to Linux 6.4, neighboring bytes
/// may share a slot.
fn one_byte(file: &File, pipe: &OwnedFd) -> rustix::io::Result<usize> {
    raw_splice(file, Some(&mut 0), pipe, None, 1)
}

#[test]
fn sixteen_single_byte_splices_fill_64_kib_pipe() {
    let file = file_with(b"x");
    let (read, write) = sixteen();
    for _ in 0..16 {
        assert_eq!(one_byte(&file, &write), Ok(1));
    }
    assert_eq!(common::queued(&read), 16);
    assert_eq!(
        one_byte(&file, &write),
        Err(Errno::AGAIN),
        "16 of 65536 bytes, and full"
    );
}

#[test]
fn unaligned_64_kib_takes_seventeen_slots() {
    let len = 16 * page();
    let file = file_with(&vec![1; 2 * len]);
    let (_read, write) = sixteen();
    assert_eq!(
        raw_splice(&file, Some(&mut 100), &write, None, len),
        Ok(len - 100),
        "the first slot holds the rest of a page only"
    );
    let (_read, write) = sixteen();
    assert_eq!(raw_splice(&file, Some(&mut 0), &write, None, len), Ok(len));
}

/// One slot holds a whole fragment of a socket buffer, which is up to 32 KiB.
#[test]
fn tcp_splice_puts_more_than_64_kib_into_64_kib_pipe() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    // The maximum for unprivileged users (`net.core.rmem_max`), so that the window is larger than a
    // pipe. Accepted sockets inherit it. It must be set before, because the window scale is
    // negotiated at the start.
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 1 << 20).expect("SO_RCVBUF");
    let mut near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let far = set_nonblocking(listener.accept().expect("accept").0);
    let bytes = pattern(1 << 20, 1);
    let sender = near.try_clone().expect("a second descriptor");
    let writer = std::thread::spawn({
        let bytes = bytes.clone();
        move || near.write_all(&bytes).map(|()| near)
    });
    // Until the window is closed, wherever that is: there is more to send, and nothing in flight.
    // Twice, as an acknowledgement may be on its way into another transmission.
    let (mut received, mut is_closed) = (0, false);
    common::wait_until("the window is closed", || {
        let before = (received, is_closed);
        let (queue, unsent) = common::send_queue(&sender);
        (received, is_closed) = (common::queued(&far), unsent > 0 && queue == unsent);
        received == bytes.len() as u64 || (is_closed && before == (received, true))
    });
    let (read, write) = sixteen();
    // One call requests at most one page per free slot (since Linux 6.5), but leaves most slots
    // free.
    let mut got = 0;
    while let Ok(more) = raw_splice(&far, None, &write, None, 1 << 20) {
        got += more;
    }
    assert_eq!(common::queued(&read), got as u64);
    eprintln!("{got} of {received} bytes in a pipe of {} bytes", 16 * page());
    if got <= 16 * page() {
        test_support::skip!(
            "tcp_splice_puts_more_than_64_kib_into_64_kib_pipe",
            "this kernel's socket buffers have fragments of no more than a page"
        );
    }
    // The library's list is right about such a pipe, too.
    let mut received = common::read_available(&read);
    let mut source = Source::stream(&far)
        .expect("source")
        .pool(&Pool::new(1, 16 * page() as u64));
    let mut list = BufferList::new();
    common::wait_until("the rest arrives", || {
        while let Step::Moved(_) = list.splice_from(&mut source, 1 << 20).expect("step") {}
        list.len() as usize + received.len() == bytes.len()
    });
    received.extend_from_slice(&list.to_bytes().expect("peek"));
    assert_same(&received, &bytes);
    drop(writer.join().expect("writer"));
}

#[test]
fn partly_drained_slot_stays_occupied() {
    let len = 16 * page();
    let file = file_with(&vec![1; len]);
    let (read, write) = sixteen();
    assert_eq!(raw_splice(&file, Some(&mut 0), &write, None, len), Ok(len));
    let mut buffer = vec![0; page()];
    assert_eq!(rustix::io::read(&read, &mut buffer[..1]), Ok(1));
    assert_eq!(one_byte(&file, &write), Err(Errno::AGAIN), "one byte of room, and full");
    let rest = page() - 1;
    assert_eq!(rustix::io::read(&read, &mut buffer[..rest]), Ok(rest));
    assert_eq!(one_byte(&file, &write), Ok(1), "a whole slot of room");
}

#[test]
fn pipe_sizes_are_power_of_two_pages() {
    let page = page();
    let mut answers = ErrnoTable::default();
    let (_read, write) = nonblocking_pipe();
    for (asked, given) in [
        (1, 1),
        (page, 1),
        (page + 1, 2),
        (3 * page, 4),
        (16 * page, 16),
        (16 * page + 1, 32),
        (17 * page, 32),
        (64 * page, 64),
    ] {
        let got = fcntl_setpipe_size(&write, asked);
        answers.row(&format!("F_SETPIPE_SZ {asked}"), got, &[Ok(given * page)]);
        assert_eq!(fcntl_getpipe_size(&write), got);
    }
    let (_read, write) = nonblocking_pipe();
    fcntl_setpipe_size(&write, 32 * page).expect("F_SETPIPE_SZ");
    let file = file_with(b"x");
    for _ in 0..20 {
        one_byte(&file, &write).expect("splice");
    }
    answers.row(
        "F_SETPIPE_SZ 64 KiB of a pipe with 20 one-byte slots",
        fcntl_setpipe_size(&write, 16 * page),
        &[Err(Errno::BUSY)],
    );
    answers.finish("F_SETPIPE_SZ:");
}

/// Only root may exceed `/proc/sys/fs/pipe-max-size`.
#[test]
fn pipe_max_size_limits_unprivileged_users() {
    const TEST: &str = "pipe_max_size_limits_unprivileged_users";
    if !rustix::process::geteuid().is_root() && std::env::var_os("BUFFERLIST_TEST_CHILD").is_none() {
        return test_support::skip!(TEST, "needs root, to become another user");
    }
    Child::user(64_169).run(TEST, || {
        let most: usize = std::fs::read_to_string("/proc/sys/fs/pipe-max-size")
            .expect("pipe-max-size")
            .trim()
            .parse()
            .expect("a number");
        let (_read, write) = nonblocking_pipe();
        assert_eq!(fcntl_setpipe_size(&write, most + 1), Err(Errno::PERM));
        // The library accepts the size that it gets. A request of 1 MiB at an odd offset needs 257
        // slots, rounded up to 512.
        let bytes = pattern(3 << 20, 2);
        let file = file_with(&bytes);
        let pool = Pool::new(8, 64 << 20);
        let mut source = Source::file(&file, 1..).expect("source").pool(&pool);
        let list = common::fill_all(&mut source, 1 << 20);
        list.counts().assert_no_copies();
        assert_same(&list.to_bytes().expect("peek"), &bytes[1..]);
    });
}

/// A thousand splices of one byte would take 63 pipes of sixteen slots. The library rewrites a pipe
/// full of tiny pieces into memory and reuses the pipe.
#[test]
fn thousand_single_bytes_from_a_file_use_few_pipes() {
    let bytes = pattern(1000, 3);
    let file = file_with(&bytes);
    let pool = Pool::new(100, 64 << 20);
    let mut source = Source::file(&file, ..).expect("source").pool(&pool).threshold(0);
    let mut list = BufferList::new();
    while let Step::Moved(receipt) = list.splice_from(&mut source, 1).expect("step") {
        assert_eq!(receipt.total(), 1);
    }
    check_thousand(&list, &bytes, &pool);
}

#[test]
fn thousand_single_bytes_from_a_socket_use_few_pipes() {
    for kind in ["TCP", "UNIX"] {
        let bytes = pattern(1000, 4);
        let (near, far) = stream_pair(kind);
        if kind == "TCP" {
            rustix::net::sockopt::set_tcp_nodelay(&far, true).expect("TCP_NODELAY");
        }
        let pool = Pool::new(100, 64 << 20);
        let mut source = Source::stream(set_nonblocking(near))
            .expect("source")
            .pool(&pool)
            .threshold(0);
        let mut list = BufferList::new();
        for byte in &bytes {
            rustix::io::write(&far, std::slice::from_ref(byte)).expect("write");
            common::wait_for_bytes(source.get_ref(), 1);
            let step = list.splice_from(&mut source, 100).expect("step");
            assert_eq!(step.receipt().total(), 1, "{kind}: {step:?}");
        }
        check_thousand(&list, &bytes, &pool);
    }
}

/// Parameters of the two tests above.
fn check_thousand(list: &BufferList, bytes: &[u8], pool: &Pool) {
    let stats = pool.stats();
    let rewritten = list.counts().of(Reason::Defragmented);
    eprintln!(
        "{} pipes made, {rewritten} of 1000 bytes rewritten, {stats:?}",
        stats.created
    );
    assert_eq!(list.len(), 1000);
    assert!(stats.created <= 2, "{stats:?}");
    assert!(stats.in_use <= 2, "{stats:?}");
    assert!((500..=1000).contains(&rewritten), "{}", list.counts());
    assert_eq!(
        list.counts().copied(),
        rewritten,
        "nothing else was copied\n{}",
        list.counts()
    );
    assert_same(&list.to_bytes().expect("peek"), bytes);
    // And out again.
    let file = file_with(b"");
    common::send_all(&mut list.clone(), &mut Sink::file(&file, 0).expect("sink"));
    assert_same(&contents(&file), bytes);
}

/// A pipe whose slots are a quarter full is worth keeping: nothing is copied.
#[test]
fn half_filled_slots_are_not_defragmented() {
    let bytes = pattern(1 << 20, 5);
    let file = file_with(&bytes);
    let pool = Pool::new(100, 64 << 20);
    let mut source = Source::file(&file, ..).expect("source").pool(&pool).threshold(0);
    let list = common::fill_all(&mut source, 2048);
    list.counts().assert_no_copies();
    assert_same(&list.to_bytes().expect("peek"), &bytes);
}

#[test]
fn unaligned_file_ranges_are_delivered_intact() {
    let page = page() as u64;
    let bytes = pattern(1 << 20, 6);
    let file = file_with(&bytes);
    for start in [0, 1, 100, page - 1, page, page + 1, 3 * page + 7] {
        for len in [1, page - 1, page, page + 1, 16 * page, 16 * page + 1, 17 * page] {
            let expected = &bytes[start as usize..(start + len) as usize];
            // If the pipe can grow, one step takes everything.
            let pool = Pool::new(1, 1 << 20);
            let mut source = Source::file(&file, start..start + len).expect("source").pool(&pool);
            let mut list = BufferList::new();
            let step = list.splice_from(&mut source, len).expect("step");
            assert_eq!(step.receipt().total(), len, "{len} bytes at {start} in one step");
            assert_same(&list.to_bytes().expect("peek"), expected);
            drop(list);
            // Otherwise several steps do, and the part that does not fit into the only pipe is
            // copied.
            let pool = Pool::new(1, 16 * page);
            let mut source = Source::file(&file, start..start + len)
                .expect("source")
                .pool(&pool)
                .threshold(0);
            let list = common::fill_all(&mut source, len);
            assert_same(&list.to_bytes().expect("peek"), expected);
            let copied = list.counts();
            assert_eq!(copied.of(Reason::Peeked) + copied.of(Reason::NoPipe), copied.copied());
            assert!(pool.stats().created <= 1);
        }
    }
}

/// Slots freed by a reader are reused by a list that both receives and sends.
#[test]
fn list_fills_and_drains_in_odd_sizes() {
    let page = page() as u64;
    let bytes = pattern(3 << 20, 7);
    let file = file_with(&bytes);
    let pool = Pool::new(64, 8 << 20);
    let mut source = Source::file(&file, ..).expect("source").pool(&pool).threshold(0);
    let out = file_with(b"");
    let mut sink = Sink::file(&out, 0).expect("sink").pool(&pool);
    let mut list = BufferList::new();
    let sizes = [1, 700, page - 1, 3 * page + 1, 2, 20 * page, 513, page];
    let mut turn = 0;
    loop {
        let size = sizes[turn % sizes.len()];
        turn += 1;
        if matches!(list.splice_from(&mut source, size).expect("step"), Step::End) {
            break;
        }
        // Send less than was received at first, more later: the pipe at the front is partly drained
        // most of the time.
        let mut part = list.split_to(list.len().min(sizes[(turn * 3) % sizes.len()]));
        common::send_all(&mut part, &mut sink);
    }
    common::send_all(&mut list, &mut sink);
    assert_same(&contents(&out), &bytes);
    assert_eq!(pool.stats().mismatched, 0, "{:?}", pool.stats());
    drop(list);
    assert_eq!(pool.stats().in_use, 0, "{:?}", pool.stats());
}

/// Segments of 1448 bytes are typical of Ethernet: sixteen of them, 23 KiB, fill a pipe of 64 KiB.
#[test]
fn segments_of_1448_bytes_are_delivered_intact() {
    let bytes = pattern(1448 * 300, 8);
    let (near, mut far) = tcp_pair();
    far.set_nodelay(true).expect("TCP_NODELAY");
    let writer = std::thread::spawn({
        let bytes = bytes.clone();
        move || {
            for piece in bytes.chunks(1448) {
                far.write_all(piece).expect("write");
            }
        }
    });
    let pool = Pool::new(400, 64 << 20);
    let mut source = Source::stream(set_nonblocking(near)).expect("source").pool(&pool);
    let mut list = BufferList::new();
    loop {
        match list.splice_from(&mut source, 65_536).expect("step") {
            Step::Moved(_) => {}
            Step::End => break,
            Step::Blocked(Side::Source) => std::thread::yield_now(),
            Step::Blocked(side) => panic!("blocked at the {side:?}"),
        }
    }
    writer.join().expect("writer");
    eprintln!("{} segments, {:?}", list.segments().len(), pool.stats());
    list.counts().assert_no_copies();
    // Never worse than one slot per segment.
    assert!(pool.stats().created <= 300 / 16 + 2, "{:?}", pool.stats());
    assert_same(&list.to_bytes().expect("peek"), &bytes);
}

/// In two slots, which is what an unprivileged user over the quota gets, one after the other.
#[test]
fn one_slot_pipe_is_too_small_and_copies() {
    let bytes = pattern(100_000, 9);
    let file = file_with(&bytes);
    // A pool limited to two pages of rings.
    let pool = Pool::new(4, 2 * page() as u64);
    let mut source = Source::file(&file, ..).expect("source").pool(&pool);
    let list = common::fill_all(&mut source, 65_536);
    assert_eq!(list.counts().of(Reason::NoPipe), 100_000);
    assert_eq!(list.counts().copied(), 100_000);
    assert!(list.segments().all(|segment| segment.kind() == SegmentKind::Memory));
    assert_same(&list.to_bytes().expect("peek"), &bytes);
}

/// Splitting and joining pipe segments never changes the slot account.
#[test]
fn nested_slices_are_sent_in_any_size() {
    let bytes = pattern(300_000, 10);
    for size in [1_u64, 13, 4_095, 4_096, 4_097, 65_537] {
        let mut list = pipe_list(&bytes);
        // Few steps, also for the smallest sizes.
        let most = (size * 500).min(list.len());
        let file = file_with(b"");
        let mut sink = Sink::file(&file, 0).expect("sink");
        let mut gone = 0;
        while gone < most {
            let mut part = list.split_to(size.min(list.len()));
            gone += common::send_all(&mut part, &mut sink);
        }
        assert_same(&contents(&file), &bytes[..gone as usize]);
        assert_same(&list.to_bytes().expect("peek"), &bytes[gone as usize..]);
    }
}
