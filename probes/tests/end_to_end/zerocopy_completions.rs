//! Zero-copy completions: counted per send, whether the program reads its error queue or not.

use std::io::Read;
use std::net::TcpStream;

use rustix::net::{RecvFlags, recv};
use zctrace_report::{CompletionSource, Report, ZerocopySummary};

use crate::fixtures::{receive, send_queue, send_zerocopy, set_int, static_pages, tcp_connection};
use crate::harness::{exclusive, traced};

const LEN: usize = 4 * 4096;

/// Makes one zero-copy send(2); returns whether it was taken whole.
fn send(socket: &TcpStream, memory: &'static [u8], flags: i32) -> bool {
    send_zerocopy(socket, memory, flags) == memory.len() as isize
}

/// Returns the completions of connections, which must all belong to this process.
fn of_connections(report: &Report) -> (u64, u64) {
    let own = std::process::id();
    let all = report.zerocopy_completions.iter();
    let all: Vec<&ZerocopySummary> = all
        .filter(|notice| notice.source == CompletionSource::ErrorQueue)
        .collect();
    for notice in &all {
        assert_eq!((notice.pid, notice.unreported_sends), (own, 0), "{notice:?}");
        assert!(
            notice.to.as_ref().is_some_and(|to| to.name.starts_with("127.0.0.1:")),
            "{notice:?}"
        );
    }
    (
        all.iter().map(|n| n.sends).sum(),
        all.iter().map(|n| n.copied_sends).sum(),
    )
}

#[test]
fn completions_that_are_not_read_are_counted() {
    const TEST: &str = "zerocopy_completions::completions_that_are_not_read_are_counted";
    const SENDS: usize = 20;
    let _exclusive = exclusive();
    let memory = &*static_pages(LEN);
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        set_int(&near, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        let far = receive(far, SENDS * LEN);
        for _ in 0..SENDS {
            while !send(&near, memory, 0) {}
        }
        far.join().expect("received");
        // The last completions arrive when the receiver has acknowledged the data.
        wait_for_acknowledgement(&near);
    }) else {
        return;
    };
    // Over loopback all sends are copied; the kernel merges their completions, and they are freed
    // with the socket.
    assert_eq!(
        of_connections(&report),
        (SENDS as u64, SENDS as u64),
        "{:?}",
        report.zerocopy_completions
    );
}

/// Waits until nothing is unacknowledged.
fn wait_for_acknowledgement(socket: &TcpStream) {
    while send_queue(socket).0 > 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn completions_that_are_read_are_counted_once() {
    const TEST: &str = "zerocopy_completions::completions_that_are_read_are_counted_once";
    let _exclusive = exclusive();
    let memory = &*static_pages(LEN);
    let Some(report) = traced(TEST, || {
        let (near, mut far) = tcp_connection();
        set_int(&near, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        for _ in 0..5 {
            assert!(send(&near, memory, 0));
            far.read_exact(&mut [0; LEN]).expect("received");
            wait_for_acknowledgement(&near);
            recv(&near, &mut [0; 1], RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT).expect("a notice");
        }
    }) else {
        return;
    };
    assert_eq!(of_connections(&report), (5, 5), "{:?}", report.zerocopy_completions);
}

#[test]
fn unsent_bytes_were_not_copied() {
    const TEST: &str = "zerocopy_completions::unsent_bytes_were_not_copied";
    let _exclusive = exclusive();
    let memory = &*static_pages(LEN);
    let mut sends = 0;
    let Some(report) = traced(TEST, || {
        let (near, far) = tcp_connection();
        set_int(&near, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        // The peer does not read: the window closes, and the send queue fills.
        near.set_nonblocking(true).expect("O_NONBLOCK");
        while send(&near, memory, libc::MSG_DONTWAIT) {
            sends += 1;
        }
        // The connection ends while the socket lives: its queue is purged, and completions are
        // queued.
        disconnect(&near);
        drop(far);
    }) else {
        return;
    };
    let (completed, copied) = of_connections(&report);
    // A send that was cut short counts, too.
    assert!(
        completed >= sends && completed <= sends + 1,
        "{completed} of {sends}: {:?}",
        report.zerocopy_completions
    );
    assert!(
        copied > 0 && copied < completed,
        "what left was copied, what did not was not: {:?}",
        report.zerocopy_completions
    );
}

/// Connects to `AF_UNSPEC`, which disconnects.
fn disconnect(socket: &TcpStream) {
    rustix::net::connect_unspec(socket).expect("AF_UNSPEC");
}
