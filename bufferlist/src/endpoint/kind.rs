//! The kind of a descriptor, as far as moving bytes is concerned.

use crate::error::{Error, ErrorKind, Result};
use crate::sys;
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, OFlags};
use rustix::net::{AddressFamily, SocketAddr, SocketAddrAny, SocketType};
use std::net::IpAddr;

/// Kind of an endpoint. Endpoints of one kind behave alike: a pair of kinds is a cell of the
/// [oracle](crate::oracle)'s matrix.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum EndpointKind {
    /// The program's own memory, whose pages enter a pipe by vmsplice(2).
    Memory,
    /// A regular file or block device through the page cache.
    File,
    /// A file in memory: memfd or tmpfs.
    Tmpfs,
    /// A file or block device opened with `O_DIRECT`.
    DirectFile,
    /// A pipe or FIFO.
    Pipe,
    /// A TCP socket.
    Tcp,
    /// A UNIX stream socket.
    Unix,
    /// A UDP socket.
    Udp,
    /// A device that discards what is written to it: `/dev/null`.
    DevNull,
    /// Anything else: terminals, other devices, other sockets.
    #[default]
    Other,
}

impl EndpointKind {
    /// Returns the short name, for tables.
    ///
    /// ```
    /// assert_eq!(bufferlist::EndpointKind::Tcp.name(), "TCP");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File => "file",
            Self::Tmpfs => "tmpfs",
            Self::DirectFile => "direct file",
            Self::Pipe => "pipe",
            Self::Tcp => "TCP",
            Self::Unix => "UNIX",
            Self::Udp => "UDP",
            Self::DevNull => "null",
            Self::Other => "other",
        }
    }

    /// Returns whether the endpoint is read and written at offsets.
    pub(crate) const fn is_file(self) -> bool {
        matches!(self, Self::File | Self::Tmpfs | Self::DirectFile)
    }

    /// Returns whether sendmsg(2) with its flags can be used.
    pub(crate) const fn is_socket(self) -> bool {
        matches!(self, Self::Tcp | Self::Unix | Self::Udp)
    }
}

/// Kind of an endpoint, and the domain it is in. A verdict of the oracle for one filesystem says
/// nothing about another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Endpoint {
    pub(crate) kind: EndpointKind,
    /// The filesystem (see [`filesystem_id`]) of a file; [`LOCAL_HOST`] for a socket whose peer is
    /// on this host.
    pub(crate) domain: u64,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.kind.name())
    }
}

/// Domain of a socket whose peer is on this host, so that no network device is involved.
pub(crate) const LOCAL_HOST: u64 = 1;

/// Filesystems that pass reads and writes on to another one, so that mounts of one type may behave
/// differently. Magic numbers from `include/uapi/linux/magic.h`.
const STACKED: [u64; 3] = [
    0x794c_7630, // overlayfs
    0x6573_5546, // fuse
    0xf15f,      // ecryptfs
];

/// tmpfs, including that of memfds (`include/uapi/linux/magic.h`: `TMPFS_MAGIC`).
pub(crate) const TMPFS: u64 = 0x0102_1994;

/// Properties of a descriptor, as queried from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FdInfo {
    pub(crate) endpoint: Endpoint,
    pub(crate) flags: OFlags,
    /// The descriptor preserves message boundaries: datagram and seqpacket sockets, packet pipes.
    pub(crate) message_oriented: bool,
    /// An operation on the descriptor may block.
    pub(crate) may_block: bool,
}

impl FdInfo {
    pub(crate) fn is_blocking(&self) -> bool {
        self.may_block && !self.flags.contains(OFlags::NONBLOCK)
    }
}

/// Identifies the filesystem of an open file: by its type, or by the mount if the type is stacked
/// on other filesystems.
fn filesystem_id(fd: BorrowedFd<'_>, device: u64) -> u64 {
    match rustix::fs::fstatfs(fd) {
        Ok(fs) => {
            // The width of `f_type` differs between architectures; its low 32 bits are the magic
            // number.
            #[allow(clippy::unnecessary_cast)]
            let magic = fs.f_type as u64 & 0xffff_ffff;
            if STACKED.contains(&magic) {
                magic | (device << 32) | (1 << 63)
            } else {
                magic
            }
        }
        // Unknown: a domain of its own, so that no verdict for a known filesystem is applied to it.
        Err(_) => u64::MAX,
    }
}

/// Returns whether both ends of an IP socket are on this host, so that its packets pass no network
/// device.
fn is_peer_local(fd: BorrowedFd<'_>) -> bool {
    fn ip(address: SocketAddrAny) -> Option<IpAddr> {
        match SocketAddr::try_from(address).ok()? {
            SocketAddr::V4(v4) => Some(IpAddr::V4(*v4.ip())),
            SocketAddr::V6(v6) => Some(v6.ip().to_canonical()),
        }
    }
    let Ok(Some(peer)) = rustix::net::getpeername(fd) else {
        return false;
    };
    let Some(peer) = ip(peer) else { return false };
    peer.is_loopback() || rustix::net::getsockname(fd).ok().and_then(ip) == Some(peer)
}

const ACTION: &str = "query the descriptor";

/// Queries the properties of `fd`. Called once per endpoint, which keeps them.
pub(crate) fn fd_info(fd: BorrowedFd<'_>) -> Result<FdInfo> {
    let stat = sys::stat(fd).map_err(|errno| Error::from_errno(errno, ACTION))?;
    let flags = sys::flags(fd).map_err(|errno| Error::from_errno(errno, ACTION))?;
    let mut message_oriented = false;
    let mut may_block = true;
    let endpoint = match FileType::from_raw_mode(stat.st_mode) {
        file @ (FileType::RegularFile | FileType::BlockDevice) => {
            may_block = false;
            // The file of a block device is on devtmpfs, which says nothing about the device.
            let filesystem = if file == FileType::RegularFile {
                filesystem_id(fd, stat.st_dev)
            } else {
                u64::MAX
            };
            // tmpfs has no device for direct I/O. It accepts `O_DIRECT` (since 6.6) and uses the
            // page cache.
            let kind = if filesystem == TMPFS {
                EndpointKind::Tmpfs
            } else if flags.contains(OFlags::DIRECT) {
                EndpointKind::DirectFile
            } else {
                EndpointKind::File
            };
            Endpoint {
                kind,
                domain: filesystem,
            }
        }
        FileType::Fifo => {
            message_oriented = flags.contains(OFlags::DIRECT);
            Endpoint {
                kind: EndpointKind::Pipe,
                domain: LOCAL_HOST,
            }
        }
        FileType::Socket => {
            let kind = rustix::net::sockopt::socket_type(fd).map_err(|errno| Error::from_errno(errno, ACTION))?;
            message_oriented = kind != SocketType::STREAM;
            socket_endpoint(fd, kind)?
        }
        FileType::CharacterDevice if is_dev_null(&stat) => {
            may_block = false;
            Endpoint {
                kind: EndpointKind::DevNull,
                domain: LOCAL_HOST,
            }
        }
        FileType::Directory => return Err(Error::new(ErrorKind::InvalidInput, "use a directory as an endpoint")),
        _ => Endpoint::default(),
    };
    Ok(FdInfo {
        endpoint,
        flags,
        message_oriented,
        may_block,
    })
}

/// Returns the endpoint for a socket.
fn socket_endpoint(fd: BorrowedFd<'_>, kind: SocketType) -> Result<Endpoint> {
    let domain = rustix::net::sockopt::socket_domain(fd).map_err(|errno| Error::from_errno(errno, ACTION))?;
    let protocol = rustix::net::sockopt::socket_protocol(fd).ok().flatten();
    Ok(match (domain, kind) {
        (AddressFamily::UNIX, SocketType::STREAM) => Endpoint {
            kind: EndpointKind::Unix,
            domain: LOCAL_HOST,
        },
        (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM)
            if protocol == Some(rustix::net::ipproto::TCP) =>
        {
            Endpoint {
                kind: EndpointKind::Tcp,
                domain: u64::from(is_peer_local(fd)),
            }
        }
        (AddressFamily::INET | AddressFamily::INET6, SocketType::DGRAM) => Endpoint {
            kind: EndpointKind::Udp,
            domain: u64::from(is_peer_local(fd)),
        },
        _ => Endpoint::default(),
    })
}

/// Returns whether a file is `/dev/null`: character device 1:3, whatever its path
/// (`Documentation/admin-guide/devices.txt`).
pub(crate) fn is_dev_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && rustix::fs::major(stat.st_rdev) == 1
        && rustix::fs::minor(stat.st_rdev) == 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;

    fn kind_of(fd: impl AsFd) -> EndpointKind {
        fd_info(fd.as_fd()).expect("facts").endpoint.kind
    }

    #[test]
    fn fd_info_identifies_descriptor_kinds() {
        let (read, _write) = std::io::pipe().expect("pipe");
        assert_eq!(kind_of(&read), EndpointKind::Pipe);
        let (unix, _) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        assert_eq!(kind_of(&unix), EndpointKind::Unix);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let tcp = std::net::TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let tcp = fd_info(tcp.as_fd()).expect("facts");
        assert_eq!(
            tcp.endpoint,
            Endpoint {
                kind: EndpointKind::Tcp,
                domain: LOCAL_HOST
            }
        );
        assert!(tcp.is_blocking());
        assert_eq!(kind_of(sys::memfd("t").expect("memfd")), EndpointKind::Tmpfs);
        assert_eq!(
            kind_of(std::fs::File::open("/dev/null").expect("null")),
            EndpointKind::DevNull
        );
        assert_eq!(
            kind_of(std::fs::File::open("/dev/zero").expect("zero")),
            EndpointKind::Other
        );
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        assert!(fd_info(udp.as_fd()).expect("facts").message_oriented);
        let directory = std::fs::File::open("/").expect("root");
        assert_eq!(fd_info(directory.as_fd()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
