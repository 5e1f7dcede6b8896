//! The endpoints of the demo's paths: unnamed files, and sockets on loopback.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::payload::BLOCK;

/// Timeout of a reader. On loopback, bytes arrive at once.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Congestion control of the demo's connections: the algorithm that every kernel has built in, and
/// that does not pace. With a pacing one (`bbr`), a timer sends the packets in the context of
/// whichever thread runs at that time (`tcp_pace_kick`, net/ipv4/`tcp_output.c`). On some hosts no
/// probe runs in the context of some threads, so that such packets would be unobserved and unknown.
const UNPACED_CONGESTION_CONTROL: &[u8] = b"reno";

/// Distinguishes files that have a name for a moment.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Creates a file in `dir` that no other process can open, and that disappears with its descriptor,
/// even after a kill.
pub(crate) fn unnamed_file(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let nameless = options
        .clone()
        .custom_flags(OFlags::TMPFILE.bits().cast_signed())
        .open(dir);
    if nameless.is_ok() {
        return nameless;
    }
    // Some filesystems do not support `O_TMPFILE`. There, the file is unlinked right after its
    // creation.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = dir.join(format!(".zctrace-demo-{}-{number}", std::process::id()));
    let file = options.create_new(true).open(&name)?;
    std::fs::remove_file(&name)?;
    Ok(file)
}

/// Enables or disables direct I/O on a file. Filesystems without direct I/O return an error.
pub(crate) fn set_direct(file: &File, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    rustix::fs::fcntl_setfl(file, flags).map_err(|errno| match errno {
        rustix::io::Errno::INVAL => io::Error::new(
            io::ErrorKind::Unsupported,
            "the filesystem has no direct I/O (O_DIRECT); use another one with --dir",
        ),
        errno => errno.into(),
    })
}

/// Sizes of a TCP segment that holds whole blocks only, so that a file opened with `O_DIRECT`
/// accepts its pages: seven blocks, plus the timestamp option, which the kernel counts as part of
/// the segment (`tcp_current_mss` in net/ipv4/`tcp_output.c`).
///
/// More than seven blocks would be split while the receiver's window is still small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WholeBlocks {
    /// Bytes of options in each segment.
    options: u32,
}

impl WholeBlocks {
    const BLOCKS: u32 = 7;

    /// Padded length of the timestamp option (include/net/tcp.h, `TCPOLEN_TSTAMP_ALIGNED`).
    const TIMESTAMPS: u32 = 12;

    /// Returns the sizes for the settings of this host.
    pub(crate) fn here() -> Self {
        let off = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_timestamps").is_ok_and(|set| set.trim() == "0");
        Self {
            options: if off { 0 } else { Self::TIMESTAMPS },
        }
    }

    /// Returns the value of `TCP_MAXSEG`.
    pub(crate) fn segment(self) -> u32 {
        Self::BLOCKS * BLOCK as u32 + self.options
    }

    /// Returns the maximum number of bytes in flight: two segments, less than the initial window of
    /// each connection.
    pub(crate) fn in_flight() -> u64 {
        2 * u64::from(Self::BLOCKS) * BLOCK
    }

    /// Explains the setting to the reader.
    pub(crate) fn note(self) -> String {
        let timestamps = match self.options {
            0 => String::new(),
            options => format!(" + {options} (its timestamps)"),
        };
        format!(
            "file → pipe → TCP → pipe → disk: the sender's TCP_MAXSEG was set to {} = {} × {BLOCK}{timestamps} before \
             connect, so that each segment holds whole blocks. With the default the pages arrive cut, and O_DIRECT \
             rejects pages that are not aligned to blocks.",
            self.segment(),
            Self::BLOCKS,
        )
    }
}

/// A connection on loopback, with the near side, which sends, and the far side.
#[derive(Debug)]
pub(crate) struct Tcp {
    /// Near side. Non-blocking, because steps of a transfer must not block.
    pub(crate) near: TcpStream,
    /// Far side. Blocks with a timeout.
    pub(crate) far: TcpStream,
}

impl Tcp {
    /// Connects, with the given maximum segment size or the default.
    pub(crate) fn connect(segment: Option<u32>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let near = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        if let Some(segment) = segment {
            near.set_tcp_mss(segment)?;
        }
        // An administrator can forbid the setting, and the connection then keeps its default.
        let _ = near.set_tcp_congestion(UNPACED_CONGESTION_CONTROL);
        near.connect(&listener.local_addr()?.into())?;
        let near = TcpStream::from(near);
        let address = near.local_addr()?;
        // Another process on this host can connect first.
        let far = loop {
            let (far, peer) = listener.accept()?;
            if peer == address {
                break far;
            }
        };
        near.set_nonblocking(true)?;
        far.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { near, far })
    }

    /// Returns the address of the far side, for the report.
    pub(crate) fn address(&self) -> String {
        self.near
            .peer_addr()
            .as_ref()
            .map(SocketAddr::to_string)
            .unwrap_or_default()
    }
}

/// Returns a pair of UNIX sockets: the near one is non-blocking, and the far one blocks with a
/// timeout.
pub(crate) fn unix_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_read_timeout(Some(TIMEOUT))?;
    Ok((near, far))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_file_leaves_no_name_behind() {
        let dir = std::env::temp_dir().join(format!("zctrace-ends-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory of our own");
        let file = unnamed_file(&dir);
        let names = std::fs::read_dir(&dir).expect("the directory").count();
        std::fs::remove_dir_all(&dir).expect("it can be removed");
        assert!(file.is_ok() && names == 0);
    }

    #[test]
    fn packets_are_not_sent_by_a_timer() {
        let reno = String::from_utf8_lossy(UNPACED_CONGESTION_CONTROL);
        let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control");
        let tcp = Tcp::connect(None).expect("a connection");
        let used = socket2::SockRef::from(&tcp.near).tcp_congestion().expect("it has one");
        let used = String::from_utf8_lossy(&used);
        let used = used.trim_end_matches('\0');
        // Where the setting is forbidden, the demo uses the host's algorithm.
        let forbidden = allowed.is_ok_and(|allowed| !allowed.split_whitespace().any(|one| one == reno));
        assert!(used == reno || forbidden, "{used}");
    }

    #[test]
    fn segments_hold_whole_blocks() {
        assert_eq!(WholeBlocks { options: 12 }.segment(), 28_684);
        let whole = WholeBlocks::here();
        assert_eq!((whole.segment() - whole.options) % BLOCK as u32, 0);
        let tcp = Tcp::connect(Some(whole.segment())).expect("a connection");
        assert!(tcp.address().starts_with("127.0.0.1:"));
    }
}
