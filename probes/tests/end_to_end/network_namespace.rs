//! A network namespace of the test's own: no other packets, no other ports, and no pacing.
//!
//! BBR and fair queuing send packets from timers, in the context of an arbitrary thread; on some
//! hosts tracing programs do not run in every such context. These tests do not cover that.

use std::cell::Cell;

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Moves this thread, and all that it starts from now on, into a network namespace with only a
/// loopback device. Without privileges it stays in the host's namespace.
pub(crate) fn own_network() {
    if OWN.replace(true) {
        return;
    }
    // SAFETY: unshare takes no pointers, and only the calling thread's network namespace changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return;
    }
    loopback_up();
    let set = std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
    set.expect("reno is built into every kernel");
}

pub(crate) fn loopback_up() {
    // SAFETY: socket takes integers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: `ifreq` is plain data, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request lives through the call, has the type that the ioctl expects, and the
    // socket is owned here.
    let up = unsafe {
        let up = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        libc::close(socket);
        up
    };
    assert_eq!(up, 0, "the loopback device: {}", std::io::Error::last_os_error());
}
