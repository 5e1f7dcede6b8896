//! The ends of the demo's paths: files without names, and sockets on loopback.

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

/// How long a reader waits for bytes that do not come. On loopback they come at once.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How the demo's connections share a network they never touch: the one way that every kernel has built in, and that does
/// not pace. Where the host's way paces (`bbr`), a timer sends the packets, on top of whichever thread runs just then
/// (`tcp_pace_kick`, net/ipv4/`tcp_output.c`), and there are hosts where no probe runs on top of some threads: what is
/// sent there is seen by nobody, and unknown.
const UNPACED_CONGESTION_CONTROL: &[u8] = b"reno";

/// Tells files apart that have a name for a moment.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A file in `dir` that nobody else can reach and that is gone with its descriptor, even after a kill.
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
    // Some filesystems do not know files without names: there it loses its name at once.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = dir.join(format!(".zctrace-demo-{}-{number}", std::process::id()));
    let file = options.create_new(true).open(&name)?;
    std::fs::remove_file(&name)?;
    Ok(file)
}

/// Turns direct I/O on a file on or off. Filesystems without it refuse.
pub(crate) fn set_direct(file: &File, on: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    rustix::fs::fcntl_setfl(file, flags).map_err(|errno| match errno {
        rustix::io::Errno::INVAL => io::Error::new(
            io::ErrorKind::Unsupported,
            "the filesystem has no direct I/O (O_DIRECT); take another one with --dir",
        ),
        errno => errno.into(),
    })
}

/// A segment that holds whole blocks and nothing else, so that a file open with `O_DIRECT` takes it: seven blocks, and the
/// option with timestamps, which the kernel counts as part of the segment (`tcp_current_mss` in net/ipv4/`tcp_output.c`).
///
/// More than seven would be cut while the receiver's window is still small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WholeBlocks {
    /// Bytes of options in each segment.
    options: u32,
}

impl WholeBlocks {
    const BLOCKS: u32 = 7;

    /// The padded length of the timestamp option (include/net/tcp.h, `TCPOLEN_TSTAMP_ALIGNED`).
    const TIMESTAMPS: u32 = 12;

    /// As this host is set up.
    pub(crate) fn here() -> Self {
        let off = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_timestamps").is_ok_and(|set| set.trim() == "0");
        Self {
            options: if off { 0 } else { Self::TIMESTAMPS },
        }
    }

    /// What `TCP_MAXSEG` must be.
    pub(crate) fn segment(self) -> u32 {
        Self::BLOCKS * BLOCK as u32 + self.options
    }

    /// How much may be under way, at most: two segments, which is less than the window that each connection begins with.
    pub(crate) fn in_flight() -> u64 {
        2 * u64::from(Self::BLOCKS) * BLOCK
    }

    /// Why, for the reader.
    pub(crate) fn note(self) -> String {
        let timestamps = match self.options {
            0 => String::new(),
            options => format!(" + {options} (its timestamps)"),
        };
        format!(
            "file → pipe → TCP → pipe → disk: the sender's TCP_MAXSEG was set to {} = {} × {BLOCK}{timestamps} before \
             connect, so that each segment holds whole blocks. With the default the pages arrive cut, and O_DIRECT \
             refuses pieces that are not aligned to blocks.",
            self.segment(),
            Self::BLOCKS,
        )
    }
}

/// A connection on loopback: the near side, which sends, and the far one.
#[derive(Debug)]
pub(crate) struct Tcp {
    /// Does not wait, as steps of a transfer must not.
    pub(crate) near: TcpStream,
    /// Waits a while for bytes.
    pub(crate) far: TcpStream,
}

impl Tcp {
    /// A new connection, with segments as they come, or of this size at most.
    pub(crate) fn connect(segment: Option<u32>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let near = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        if let Some(segment) = segment {
            near.set_tcp_mss(segment)?;
        }
        // Refused where an administrator forbids it, and then it stays as it is.
        let _ = near.set_tcp_congestion(UNPACED_CONGESTION_CONTROL);
        near.connect(&listener.local_addr()?.into())?;
        let near = TcpStream::from(near);
        let address = near.local_addr()?;
        // Somebody else on this host may connect first.
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

    /// The address of the far side, for the report.
    pub(crate) fn address(&self) -> String {
        self.near
            .peer_addr()
            .as_ref()
            .map(SocketAddr::to_string)
            .unwrap_or_default()
    }
}

/// A pair of UNIX sockets: near, which does not wait, and far, which waits a while.
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
        // Where it is forbidden the demo does with what there is.
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
