//! Where bytes start and arrive (ends), and where they are seen on the way (stations).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::format;
use super::open_enum::open_enum;

open_enum! {
    /// What kind of thing an end or a waypoint is.
    pub enum EndpointKind {
        /// A file read or written through the page cache.
        File = "file",
        /// A file open with `O_DIRECT`.
        DirectFile = "direct_file",
        /// A block device.
        BlockDevice = "block_device",
        /// A TCP socket.
        Tcp = "tcp",
        /// A UDP socket.
        Udp = "udp",
        /// A UNIX stream, datagram or seqpacket socket.
        Unix = "unix",
        /// A socket of another family.
        Socket = "socket",
        /// A pipe or FIFO. A waypoint, unless its other side was not watched.
        Pipe = "pipe",
        /// A terminal.
        Terminal = "terminal",
        /// `/dev/null`.
        Null = "null",
        /// A character device or another special file.
        Device = "device",
        /// The program's own memory.
        Memory = "memory",
        /// Several kinds, in a row into which unlike flows were folded.
        Various = "various",
    }
}

impl EndpointKind {
    /// Whether it is a socket of any family: what `--to socket` names.
    pub const fn is_socket(&self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Unix | Self::Socket)
    }

    /// Whether it is a file, however it was opened: what `--to file` names.
    pub const fn is_file(&self) -> bool {
        matches!(self, Self::File | Self::DirectFile)
    }

    /// The word for a screen, without underscores.
    ///
    /// ```
    /// use zctrace_report::EndpointKind;
    /// assert_eq!(EndpointKind::DirectFile.label(), "file (O_DIRECT)");
    /// assert_eq!(EndpointKind::Tcp.label(), "TCP socket");
    /// ```
    pub fn label(&self) -> &str {
        match self {
            Self::DirectFile => "file (O_DIRECT)",
            Self::BlockDevice => "block device",
            Self::Tcp => "TCP socket",
            Self::Udp => "UDP socket",
            Self::Unix => "UNIX socket",
            other => other.as_str(),
        }
    }
}

/// One end of a flow, or a waypoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// What it is.
    pub kind: EndpointKind,
    /// A path, an address, a number of a pipe; in the names of the traced program's own namespace. Empty if not known, with
    /// a `*` for what was folded.
    #[serde(default)]
    pub name: String,
    /// The service's port, by which many connections to one service fold into one row. Which of a connection's two ports is
    /// the service's is a guess; rules match either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The connection's port on this side; absent if not known, or not the same for all that were folded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// The connection's port on the other side; absent if not known, or not the same for all that were folded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_port: Option<u16>,
    /// The object itself: `device:inode` of a file or pipe, the cookie of a socket. Tells namesakes apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl Endpoint {
    /// An end of this kind and name.
    ///
    /// ```
    /// use zctrace_report::{Endpoint, EndpointKind};
    /// assert_eq!(Endpoint::new(EndpointKind::File, "/srv/a.bin").to_string(), "file /srv/a.bin");
    /// ```
    pub fn new(kind: EndpointKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            port: None,
            local_port: None,
            peer_port: None,
            object: None,
        }
    }

    /// The ports that a connection is known by, each once: the service's first.
    ///
    /// ```
    /// use zctrace_report::{Endpoint, EndpointKind};
    /// let mut end = Endpoint::new(EndpointKind::Tcp, "10.0.0.7:40000");
    /// (end.port, end.local_port, end.peer_port) = (Some(50_051), Some(50_051), Some(40_000));
    /// assert_eq!(end.ports().collect::<Vec<_>>(), [50_051, 40_000]);
    /// ```
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let (first, local) = (self.port, self.local_port.filter(|_| self.local_port != self.port));
        let is_new = self.peer_port != first && self.peer_port != local;
        let peer = self.peer_port.filter(|_| is_new);
        first.into_iter().chain(local).chain(peer)
    }

    /// Whether the name tells where the end is. An end without a name is shown as an inode or a socket number, which no
    /// rule about a path can decide.
    ///
    /// ```
    /// use zctrace_report::{Endpoint, EndpointKind::{File, Unix}};
    /// assert!(Endpoint::new(File, "/srv/[7]").is_named());
    /// assert!(!Endpoint::new(File, "inode 7 of device 254:1").is_named());
    /// assert!(!Endpoint::new(Unix, "[4711]").is_named());
    /// ```
    pub fn is_named(&self) -> bool {
        let name = self.name.as_str();
        let number = name.strip_suffix(']').and_then(|name| name.rsplit_once('['));
        let is_number = number.is_some_and(|(before, number)| {
            !before.contains('/') && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        let is_inode = name.starts_with("inode ") && name.contains(" of device ");
        !(name.is_empty() || is_number || is_inode || name == "several files")
    }

    /// Whether both ports of the connection are known, so that it has no others.
    pub const fn has_both_ports(&self) -> bool {
        self.local_port.is_some() && self.peer_port.is_some()
    }
}

impl fmt::Display for Endpoint {
    /// Kind and name. Names come from the traced program, so control characters are taken out here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format::printable(self.kind.label()))?;
        if !self.name.is_empty() {
            write!(f, " {}", format::printable(&self.name))?;
        }
        match self.port {
            Some(port) if self.name.is_empty() => write!(f, " :{port}"),
            _ => Ok(()),
        }
    }
}

open_enum! {
    /// In what form a byte range is seen at a station.
    pub enum StationKind {
        /// A page of the program's memory.
        UserPage = "user_page",
        /// A page of the page cache.
        PageCache = "page_cache",
        /// A slot of a pipe's ring.
        PipeSlot = "pipe_slot",
        /// A fragment of a socket buffer.
        SkbFrag = "skb_frag",
        /// A vector of a block request.
        BioVec = "bio_vec",
        /// What the library holds or was told, seen from inside the program (tier L).
        Library = "library",
    }
}

/// Where a byte range is seen: a form, in an object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Station {
    /// The form.
    pub kind: StationKind,
    /// The file, pipe, socket, device or memory that holds it.
    pub endpoint: Endpoint,
}

impl Station {
    /// A station of this form in this object.
    pub const fn new(kind: StationKind, endpoint: Endpoint) -> Self {
        Self { kind, endpoint }
    }
}

impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &self.kind {
            StationKind::UserPage => "user page",
            StationKind::PageCache => "page cache",
            StationKind::PipeSlot => "slot",
            StationKind::SkbFrag => "skb frag",
            StationKind::BioVec => "bio vec",
            StationKind::Library => "the library's account",
            StationKind::Other(word) => word,
        };
        write!(f, "{} of {}", format::printable(form), self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_cannot_steer_the_terminal() {
        let shown = Endpoint::new(EndpointKind::File, "/tmp/\u{1b}[2Jx\n").to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(shown.starts_with("file /tmp/"), "{shown}");
    }

    #[test]
    fn a_folded_service_shows_its_port() {
        let mut end = Endpoint::new(EndpointKind::Tcp, "");
        end.port = Some(443);
        assert_eq!(end.to_string(), "TCP socket :443");
        let slot = Station::new(StationKind::PipeSlot, Endpoint::new(EndpointKind::Pipe, "90121"));
        assert_eq!(slot.to_string(), "slot of pipe 90121");
    }
}
