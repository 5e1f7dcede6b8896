//! Gate cases whose truth was established without the tracer: a rule must not pass over bytes that
//! a program copied, whose origin was lost, or whose memory was read from a file.

use std::fs::OpenOptions;
use std::io::Seek;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::pipe::{IoSliceRaw, SpliceFlags, fcntl_setpipe_size, pipe, splice, vmsplice};

use super::*;

/// Bytes of one round.
const ROUND: usize = 65_536;
/// `O_DIRECT` of x86-64.
const O_DIRECT: i32 = 0o40_000;

/// If this is the traced process, runs `body` in the directory that [`judged`] made, and exits.
fn act_if_traced(body: impl FnOnce(&str, &std::path::Path)) {
    let Ok(task) = std::env::var(SEND) else { return };
    let (how, dir) = task.split_once(' ').expect("what to do, and where");
    body(how, dir.as_ref());
    std::process::exit(0);
}

/// Returns a file of this many bytes.
fn file_of(dir: &std::path::Path, len: usize) -> File {
    let path = dir.join("source");
    fs::write(&path, vec![7; len]).expect("a file");
    File::open(path).expect("the file")
}

/// Returns a connection to this process, whose far side is read by a thread until it ends.
fn connection() -> (TcpStream, std::thread::JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
    let (mut far, _) = listener.accept().expect("accepted");
    let reader = std::thread::spawn(move || std::io::copy(&mut far, &mut std::io::sink()).expect("received"));
    (near, reader)
}

/// Splices this many bytes, however many calls that takes.
fn splice_exactly(from: &impl AsFd, at: Option<u64>, to: &impl AsFd, len: usize) {
    let (mut at, mut left) = (at, len);
    while left > 0 {
        let n = splice(from, at.as_mut(), to, None, left, SpliceFlags::empty()).expect("splice");
        assert!(n > 0, "nothing more");
        left -= n;
    }
}

/// Judges this test by `zctrace assert` with the given rules.
///
/// The files stay until the judgment is made: a deleted file may have had any name.
fn judged(test: &str, rules: &[&str], how: &str) -> (Option<i32>, String) {
    // Short, because the records keep 63 bytes of a name.
    let name = test
        .rsplit("::")
        .next()
        .and_then(|name| name.get(..20))
        .expect("a name");
    let dir = std::env::temp_dir().join(format!("zctrace-{name}-{how}-{}", std::process::id()));
    fs::create_dir(&dir).expect("a directory");
    let task = format!("{how} {}", dir.to_str().expect("a path"));
    let output = traced(test, &[&["assert"], rules].concat(), &task);
    fs::remove_dir_all(&dir).expect("removed");
    (output.status.code(), both(&output))
}

const TO_TCP: [&str; 4] = ["--to", "tcp", "--max-copied", "0"];

/// The first end is a direct file, which gets pages. The second is the same file, buffered, which
/// copies: the rule names both.
#[test]
fn bytes_copied_into_the_second_end_of_a_name_break_a_rule_about_both() {
    const TEST: &str = "cases::bytes_copied_into_the_second_end_of_a_name_break_a_rule_about_both";
    act_if_traced(|how, dir| {
        let source = file_of(dir, ROUND);
        let (read, write) = pipe().expect("pipe");
        let open = |flags| {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(flags);
            options.open(dir.join("out")).expect("open")
        };
        let direct = open(O_DIRECT);
        splice_exactly(&source, Some(0), &write, 4096);
        splice_exactly(&read, None, &direct, 4096);
        drop(direct);
        let buffered = open(0);
        let rounds = if how == "two" { 16 } else { 0 };
        for _ in 0..rounds {
            splice_exactly(&source, Some(0), &write, ROUND);
            splice_exactly(&read, None, &buffered, ROUND);
        }
    });
    if !possible(TEST) {
        return;
    }
    let rules = ["--to", "file:*out,direct_file:*out", "--max-copied", "0"];
    let (code, printed) = judged(TEST, &rules, "two");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("1 048 576 "), "{printed}");
    let (code, printed) = judged(TEST, &rules, "one");
    assert_eq!(code, Some(0), "the direct end alone moves\n{printed}");
}

/// A pipe that is resized while it is full loses the origin of its bytes: they may be the file's.
#[test]
fn lost_origin_leaves_a_rule_about_files_open() {
    const TEST: &str = "cases::lost_origin_leaves_a_rule_about_files_open";
    act_if_traced(|how, dir| {
        let source = file_of(dir, ROUND);
        let (read, write) = pipe().expect("pipe");
        let (near, reader) = connection();
        let mut offset = 0;
        rustix::fs::sendfile(&near, &source, Some(&mut offset), 4096).expect("sendfile");
        for round in 0..16 {
            splice_exactly(&source, Some(0), &write, ROUND);
            if how == "resized" {
                fcntl_setpipe_size(&write, if round % 2 == 1 { ROUND } else { 2 * ROUND }).expect("F_SETPIPE_SZ");
            }
            splice_exactly(&read, None, &near, ROUND);
        }
        drop(near);
        assert_eq!(reader.join().expect("the reader"), (4096 + 16 * ROUND) as u64);
    });
    if !possible(TEST) {
        return;
    }
    let rules = ["--from", "file", "--to", "tcp", "--max-copied", "0"];
    let (code, printed) = judged(TEST, &rules, "resized");
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("INCONCLUSIVE"), "{printed}");
    let (code, printed) = judged(TEST, &rules, "kept");
    assert_eq!(code, Some(0), "the same without a resize\n{printed}");
}

#[test]
fn messages_sent_by_one_call_break_a_rule_against_copies() {
    const TEST: &str = "cases::messages_sent_by_one_call_break_a_rule_against_copies";
    act_if_traced(|_, dir| {
        let source = file_of(dir, 4096);
        let (near, reader) = connection();
        rustix::fs::sendfile(&near, &source, None, 4096).expect("sendfile");
        let bytes = vec![5_u8; 1 << 20];
        let mut range = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut sent = 0;
        for _ in 0..4 {
            // SAFETY: a zeroed header is valid, and the range and its bytes outlive the call.
            let message = unsafe {
                let mut message: libc::mmsghdr = std::mem::zeroed();
                message.msg_hdr.msg_iov = &raw mut range;
                message.msg_hdr.msg_iovlen = 1;
                assert_eq!(libc::sendmmsg(near.as_raw_fd(), &raw mut message, 1, 0), 1);
                message
            };
            sent += u64::from(message.msg_len);
        }
        drop(near);
        assert_eq!(reader.join().expect("the reader"), 4096 + sent);
    });
    if !possible(TEST) {
        return;
    }
    let (code, printed) = judged(TEST, &TO_TCP, "all");
    assert_eq!(code, Some(1), "{printed}");
}

/// The pages move, and hold what a read copied before: the judgment says where they come from.
#[test]
fn memory_that_was_read_from_a_file_is_told_in_a_passed_judgment() {
    const TEST: &str = "cases::memory_that_was_read_from_a_file_is_told_in_a_passed_judgment";
    act_if_traced(|_, dir| {
        let source = file_of(dir, 1 << 20);
        let (near, reader) = connection();
        let (read, write) = pipe().expect("pipe");
        // Never unmapped: the kernel may refer to the pages after the call.
        let memory = Box::leak(Box::new(memmap2::MmapMut::map_anon(1 << 20).expect("mmap")));
        source.read_exact_at(memory, 0).expect("pread");
        for part in memory.chunks(ROUND) {
            let mut part = part;
            while !part.is_empty() {
                // SAFETY: vmsplice requires that the memory stays valid and unchanged: it is never
                // unmapped, and nothing writes to it any more.
                let n = unsafe { vmsplice(&write, &[IoSliceRaw::from_slice(part)], SpliceFlags::empty()) };
                let n = n.expect("vmsplice");
                splice_exactly(&read, None, &near, n);
                part = &part[n..];
            }
        }
        drop(near);
        assert_eq!(reader.join().expect("the reader"), 1 << 20);
    });
    if !possible(TEST) {
        return;
    }
    let (code, printed) = judged(TEST, &TO_TCP, "all");
    assert_eq!(code, Some(0), "{printed}");
    let one_line = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        one_line.contains("1 048 576 bytes that moved were in the program's memory before"),
        "{printed}"
    );
}

/// A process that left its parent sends by plain writes. It ends before the connection does, so
/// waiting for it takes no guess.
#[test]
fn process_that_left_its_parent_is_judged_with_it() {
    const TEST: &str = "cases::process_that_left_its_parent_is_judged_with_it";
    act_if_traced(|how, dir| {
        let mut source = file_of(dir, ROUND);
        let (mut near, reader) = connection();
        if how == "daemon" {
            std::io::copy(&mut source, &mut near).expect("copied");
            source.rewind().expect("rewind");
            let mut daemon = Command::new("setsid");
            daemon.args(["--fork", "head", "-c", "65536", "/dev/zero"]);
            daemon
                .stdin(Stdio::null())
                .stdout(near.try_clone().map(std::os::fd::OwnedFd::from).expect("dup"));
            assert!(daemon.status().expect("setsid").success());
            drop(daemon);
        } else {
            rustix::fs::sendfile(&near, &source, None, ROUND).expect("sendfile");
        }
        drop(near);
        reader.join().expect("the reader");
    });
    if !possible(TEST) {
        return;
    }
    let wait = [&TO_TCP[..], &["--wait"]].concat();
    let (code, printed) = judged(TEST, &wait, "daemon");
    assert_eq!(code, Some(1), "{printed}");
    let (code, printed) = judged(TEST, &wait, "alone");
    assert_eq!(code, Some(0), "{printed}");
}

/// A truncated receive copies what its buffer holds, which a limit in bytes shows.
#[test]
fn truncated_datagram_is_judged_by_its_buffer() {
    const TEST: &str = "cases::truncated_datagram_is_judged_by_its_buffer";
    act_if_traced(|_, _| {
        let far = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        let near = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        near.send_to(&vec![7; 60_000], far.local_addr().expect("address"))
            .expect("send");
        let mut buffer = [0_u8; 10];
        let (_, len) = rustix::net::recv(&far, &mut buffer[..], rustix::net::RecvFlags::TRUNC).expect("recv");
        assert_eq!(len, 60_000);
    });
    if !possible(TEST) {
        return;
    }
    for (limit, expected) in [("10", 0), ("9", 1)] {
        let rules = ["--from", "udp", "--to", "memory", "--max-copied", limit];
        let (code, printed) = judged(TEST, &rules, "all");
        assert_eq!(code, Some(expected), "{limit}\n{printed}");
    }
}
