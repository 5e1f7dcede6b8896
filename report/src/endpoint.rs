//! Endpoints, which bytes enter or leave, and stations, at which probes observe bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::format;
use super::open_enum::open_enum;

open_enum! {
    /// Kind of an endpoint or waypoint.
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
        /// A pipe or FIFO. It is a waypoint if both of its sides were traced, otherwise an
        /// endpoint.
        Pipe = "pipe",
        /// A terminal.
        Terminal = "terminal",
        /// `/dev/null`.
        Null = "null",
        /// A character device or another special file.
        Device = "device",
        /// The program's own memory.
        Memory = "memory",
        /// Several kinds, in a row that aggregates different flows.
        Various = "various",
    }
}

impl EndpointKind {
    /// Returns whether the endpoint is a socket of any family. `--to socket` selects these.
    pub const fn is_socket(&self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Unix | Self::Socket)
    }

    /// Returns whether the endpoint is a file, buffered or direct. `--to file` selects these.
    pub const fn is_file(&self) -> bool {
        matches!(self, Self::File | Self::DirectFile)
    }

    /// Returns the kind as screens show it, without underscores.
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

/// Endpoint of a flow, or waypoint of its path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// Kind of the endpoint.
    pub kind: EndpointKind,
    /// Path, address or pipe number, in the namespaces of the traced program. Empty if not known;
    /// with `*` in place of what folding dropped.
    #[serde(default)]
    pub name: String,
    /// The service's port, by which many connections to one service fold into one row. Which of a
    /// connection's two ports is the service's is a guess; rules match either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The connection's port on this side; absent if not known, or not the same for all that were
    /// folded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// The connection's port on the other side; absent if not known, or not the same for all that
    /// were folded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_port: Option<u16>,
    /// Identity of the object, which distinguishes objects of equal names: `device:inode` of a file
    /// or pipe, the cookie of a socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Further names by which it was used: paths of other links or from after a rename, addresses
    /// from after another connect(2). Empty for an endpoint that aggregates several. With `*` in
    /// place of names that were dropped, because there were too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_names: Vec<String>,
}

impl Endpoint {
    /// Creates an endpoint from its kind and name.
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
            other_names: Vec::new(),
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

    /// Returns whether the name identifies the endpoint. An endpoint without a name is shown as an
    /// inode or a socket number, which no rule about a path can decide.
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

    /// Returns whether both ports of the connection are known.
    pub const fn has_both_ports(&self) -> bool {
        self.local_port.is_some() && self.peer_port.is_some()
    }
}

impl fmt::Display for Endpoint {
    /// Writes kind and name. The traced program chooses names, so control characters are replaced.
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
    /// Form in which a byte range is at a station.
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
        /// The library's own account, recorded inside the program (tier L).
        Library = "library",
    }
}

impl StationKind {
    /// Returns whether the station holds pages of the kernel or of a process.
    pub const fn has_pages(&self) -> bool {
        match self {
            Self::UserPage | Self::PageCache | Self::PipeSlot | Self::SkbFrag | Self::BioVec => true,
            Self::Library | Self::Other(_) => false,
        }
    }

    /// Returns whether the kernel takes a page reference for the station inside the call, or the
    /// call waits for the device (A21 in `docs/evidence.md`). A hop to another station has no
    /// custody, so its certificate does not prove *moved* without DMA.
    pub const fn takes_reference(&self) -> bool {
        match self {
            Self::PipeSlot | Self::SkbFrag | Self::BioVec => true,
            Self::UserPage | Self::PageCache | Self::Library | Self::Other(_) => false,
        }
    }
}

/// Place at which a byte range was observed: a form, in an object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Station {
    /// Form of the byte range.
    pub kind: StationKind,
    /// File, pipe, socket, device or memory that holds the byte range.
    pub endpoint: Endpoint,
}

impl Station {
    /// Creates a station from its form and its object.
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
