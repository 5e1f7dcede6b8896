//! A network of the test's own: nobody else's packets, nobody else's ports, and no pacing.
//!
//! BBR and fair queueing send packets from timers, in the context of whatever thread happens to run then; on some hosts
//! tracing programs are not run in every such context. That is not what these tests ask about.

use std::cell::Cell;

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Gives this thread, and what it starts from now on, a network of its own with nothing but a loopback device. Without
/// privileges it keeps the host's.
pub(crate) fn own_network() {
    if OWN.replace(true) {
        return;
    }
    // SAFETY: no pointers; what changes is the calling thread's network only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return;
    }
    loopback_up();
    let set = std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
    set.expect("reno is built into every kernel");
}

fn loopback_up() {
    // SAFETY: plain integers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: all zeros are a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request lives through the call, and the socket is ours.
    let up = unsafe {
        let up = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        libc::close(socket);
        up
    };
    assert_eq!(up, 0, "the loopback device: {}", std::io::Error::last_os_error());
}
