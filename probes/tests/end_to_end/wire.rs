//! Two network namespaces that a pair of virtual devices connects.

use std::ffi::CString;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use test_support::skip;

use crate::fixtures::thread_id;
use crate::mounts::command;
use crate::network_namespace::own_network;

/// Address of the far side.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 2);

/// Numbers the devices, because tests of one thread share a namespace.
static DEVICES: AtomicU32 = AtomicU32::new(0);

/// Listener in another namespace, and this side's device to it.
pub(crate) struct Wire {
    pub(crate) listener: TcpListener,
    pub(crate) device: String,
}

impl Wire {
    /// Connects the namespace of this thread with a new one; reports a skip and returns `None` if
    /// that is not possible.
    pub(crate) fn or_skip(test: &str) -> Option<Self> {
        Self::new().map_err(|reason| skip!(test, "{reason}")).ok()
    }

    fn new() -> Result<Self, String> {
        own_network();
        let number = DEVICES.fetch_add(1, Ordering::Relaxed);
        let (near, far) = (format!("zn{number}"), format!("zf{number}"));
        ip(&format!("link add {near} type veth peer name {far}"))?;
        let (tell, told) = mpsc::channel();
        let (connect, connected) = mpsc::channel::<()>();
        // A socket keeps its namespace, so the thread that made it need not stay.
        let far_side = {
            let far = far.clone();
            std::thread::spawn(move || {
                new_namespace()?;
                tell.send(thread_id()).expect("the test");
                connected.recv().map_err(|_| "no device".to_owned())?;
                ip(&format!("addr add {FAR}/24 dev {far}"))?;
                ip(&format!("link set {far} up"))?;
                TcpListener::bind((FAR, 0)).map_err(|error| error.to_string())
            })
        };
        if let Ok(thread) = told.recv() {
            ip(&format!("link set {far} netns {thread}"))?;
            ip(&format!("addr add 10.1.1.1/24 dev {near}"))?;
            ip(&format!("link set {near} up"))?;
            connect.send(()).expect("the far side");
        }
        drop(connect);
        let listener = far_side.join().expect("the far side")?;
        Ok(Self { listener, device: near })
    }

    /// Switches scatter-gather of this side's device off: the kernel makes packets with fragments
    /// linear before the device gets them.
    pub(crate) fn without_scatter_gather(&self) {
        // include/uapi/linux/ethtool.h: `struct ethtool_value`.
        const ETHTOOL_SSG: u32 = 0x19;
        // include/uapi/linux/sockios.h
        const SIOCETHTOOL: libc::Ioctl = 0x8946;
        let mut value = [ETHTOOL_SSG, 0];
        // SAFETY: `ifreq` is plain data, for which all zeros is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.device.as_bytes()) {
            *to = (*from).cast_signed();
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("socket");
        // SAFETY: the ioctl reads a request with a pointer to two words, which both outlive the
        // call.
        let set = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        assert_eq!(set, 0, "ETHTOOL_SSG: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The device is gone already if the far namespace is.
        let _ = ip(&format!("link del {}", self.device));
    }
}

/// Runs ip(8) in the namespace of this thread.
pub(crate) fn ip(arguments: &str) -> Result<(), String> {
    command("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Moves this thread into a new network namespace, whose loopback device is down.
pub(crate) fn new_namespace() -> Result<(), String> {
    // SAFETY: unshare takes no pointers, and only the calling thread's network namespace changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(format!("unshare: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}

/// Returns the index of a device.
pub(crate) fn device_index(name: &str) -> i32 {
    let name = CString::new(name).expect("a name");
    // SAFETY: the name is a string with a terminator.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert!(index > 0, "{}", std::io::Error::last_os_error());
    index as i32
}
