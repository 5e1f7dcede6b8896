//! Table of all endpoints with their numbers and names.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zctrace_records::{
    COMPONENT_SIZE, EndpointName, EndpointState, FileId, IoCounterKey, SocketPair, endpoint_kind, name_flag,
};

use super::endpoint::{DEV_NULL, DEV_ZERO, IPPROTO_MPTCP, O_DIRECT, is_terminal};
use super::socket_pair::canonical;
use crate::collections::fast_map::FastMap;
use zctrace_report::{Endpoint, EndpointKind};

/// Number of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct EndpointId(u32);

impl EndpointId {
    /// Any pipe, as a station of a path.
    pub(crate) const PIPE: Self = Self(0);
    /// The program's own memory.
    pub(crate) const MEMORY: Self = Self(1);
}

/// Maximum number of distinct endpoints. A server has millions of sockets; further ones share one
/// endpoint per kind.
const MAX_ENDPOINTS: usize = 100_000;

/// Identity of an endpoint: kind, key and the details that a report shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EndpointIdentity {
    /// One of [`endpoint_kind`].
    kind: u16,
    is_direct: bool,
    /// Character devices: their number. Sockets of no known kind: their protocol.
    device: u32,
    dev: u32,
    generation: u32,
    ino: u64,
    /// TCP: the addresses, with this socket as the sender.
    pair: SocketPair,
}

impl EndpointIdentity {
    /// Decodes the identity of an endpoint.
    pub(crate) fn of(state: &EndpointState) -> Self {
        Self {
            kind: state.kind,
            is_direct: state.f_flags & O_DIRECT != 0,
            device: match state.kind {
                endpoint_kind::CHAR => state.size,
                endpoint_kind::SOCKET => state.generation,
                _ => 0,
            },
            dev: state.dev,
            // Of sockets, other facts are there (`EndpointState::generation`).
            generation: match state.kind {
                endpoint_kind::FILE | endpoint_kind::BLOCK | endpoint_kind::CHAR => state.generation,
                _ => 0,
            },
            ino: state.ino,
            pair: canonical(state.pair),
        }
    }

    /// Returns the identity of a TCP socket.
    pub(crate) fn of_tcp(ino: u64, dev: u32, pair: SocketPair) -> Self {
        Self::of(&EndpointState {
            kind: endpoint_kind::TCP,
            ino,
            dev,
            pair,
            ..EndpointState::default()
        })
    }

    /// Returns the identity of a file that is open without `O_DIRECT`; the default stands for
    /// several files.
    pub(crate) fn of_file(file: FileId) -> Self {
        Self::of(&EndpointState {
            kind: endpoint_kind::FILE,
            ino: file.ino,
            dev: file.dev,
            generation: file.generation,
            ..EndpointState::default()
        })
    }

    fn of_kind(kind: u16) -> Self {
        Self::of(&EndpointState {
            kind,
            ..EndpointState::default()
        })
    }

    /// Returns the key by which the endpoint is found; the address pair is not part of it.
    fn key(&self) -> Key {
        Key {
            kind: self.kind,
            direct: self.is_direct,
            device: self.device,
            dev: self.dev,
            generation: self.generation,
            ino: self.ino,
        }
    }

    /// Returns whether both are files of one filesystem.
    pub(crate) fn is_on_one_device(&self, other: &Self) -> bool {
        self.kind == endpoint_kind::FILE && other.kind == endpoint_kind::FILE && self.dev == other.dev
    }

    fn name_key(&self) -> NameKey {
        (self.kind, self.dev, self.generation, self.ino)
    }

    fn report_kind(&self) -> EndpointKind {
        match self.kind {
            endpoint_kind::MEMORY => EndpointKind::Memory,
            endpoint_kind::PIPE => EndpointKind::Pipe,
            endpoint_kind::FILE if self.is_direct => EndpointKind::DirectFile,
            endpoint_kind::FILE => EndpointKind::File,
            endpoint_kind::BLOCK => EndpointKind::BlockDevice,
            endpoint_kind::TCP => EndpointKind::Tcp,
            endpoint_kind::UDP => EndpointKind::Udp,
            endpoint_kind::UNIX_STREAM | endpoint_kind::UNIX_MESSAGES => EndpointKind::Unix,
            endpoint_kind::SOCKET => EndpointKind::Socket,
            endpoint_kind::CHAR if matches!(self.device, DEV_NULL | DEV_ZERO) => EndpointKind::Null,
            endpoint_kind::CHAR if is_terminal(self.device) => EndpointKind::Terminal,
            _ => EndpointKind::Device,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    kind: u16,
    direct: bool,
    device: u32,
    dev: u32,
    generation: u32,
    ino: u64,
}

#[derive(Debug)]
struct Entry {
    kind: EndpointKind,
    identity: EndpointIdentity,
}

/// Key of a name, which is the same however the file is open: kind, device, generation and inode
/// number.
type NameKey = (u16, u32, u32, u64);

/// Maximum number of names of one endpoint. Further ones share one that stands for any name.
const MAX_NAMES: usize = 8;
/// Name that stands for any name.
const ANY_NAME: &str = "*";

/// All endpoints that were observed.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Vec<Entry>,
    by_key: FastMap<Key, EndpointId>,
    /// Names, the first one first. A file that is open both with and without `O_DIRECT` is two
    /// endpoints with the same names.
    names: FastMap<NameKey, Vec<String>>,
    mounts: HashMap<u32, String>,
    /// Open TCP sockets that traced calls used, by the address of their `struct sock`.
    sockets: FastMap<u64, EndpointId>,
    /// Number of TCP sockets that have a port on either side. The service's port is the one that
    /// several connections share.
    port_uses: FastMap<u16, u32>,
}

impl Endpoints {
    /// Creates the table. `mounts` has the mount point of each device number, for names.
    pub(crate) fn new(mounts: HashMap<u32, String>) -> Self {
        let entry = |kind| {
            let identity = EndpointIdentity::of_kind(kind);
            Entry {
                kind: identity.report_kind(),
                identity,
            }
        };
        Self {
            all: vec![entry(endpoint_kind::PIPE), entry(endpoint_kind::MEMORY)],
            by_key: FastMap::default(),
            names: FastMap::default(),
            mounts,
            sockets: FastMap::default(),
            port_uses: FastMap::default(),
        }
    }

    /// Returns the ID of the endpoint with a state, a new one if it was never observed.
    pub(crate) fn of(&mut self, state: &EndpointState) -> EndpointId {
        self.id_of(&EndpointIdentity::of(state))
    }

    /// Returns the ID of an endpoint, a new one if it was never observed.
    pub(crate) fn id_of(&mut self, identity: &EndpointIdentity) -> EndpointId {
        match identity.kind {
            endpoint_kind::PIPE => return EndpointId::PIPE,
            endpoint_kind::MEMORY => return EndpointId::MEMORY,
            _ => {}
        }
        let mut identity = *identity;
        if let Some(id) = self.by_key.get(&identity.key()) {
            return *id;
        }
        if self.all.len() >= MAX_ENDPOINTS {
            // The one that stands for many has the name and the addresses of none.
            identity = EndpointIdentity {
                dev: 0,
                generation: 0,
                ino: 0,
                pair: SocketPair::default(),
                ..identity
            };
        }
        let next = EndpointId(self.all.len() as u32);
        let (all, port_uses) = (&mut self.all, &mut self.port_uses);
        *self.by_key.entry(identity.key()).or_insert_with(|| {
            all.push(Entry {
                kind: identity.report_kind(),
                identity,
            });
            if identity.pair.destination_port != 0 {
                for port in [identity.pair.source_port, identity.pair.destination_port] {
                    *port_uses.entry(port).or_default() += 1;
                }
            }
            next
        })
    }

    /// Returns which port of a connection is probably the service's: the one that more connections
    /// of the trace have, else the lower one. No record tells which side listens.
    fn service_port(&self, pair: &SocketPair) -> u16 {
        let uses = |port: u16| self.port_uses.get(&port).copied().unwrap_or(0);
        let [local, peer] = [pair.source_port, pair.destination_port];
        match uses(local).cmp(&uses(peer)) {
            Ordering::Greater => local,
            Ordering::Less => peer,
            Ordering::Equal => local.min(peer),
        }
    }

    /// Records a name of an endpoint. A report shows the first one, and lists the others.
    pub(crate) fn name(&mut self, name: &EndpointName) {
        if matches!(name.endpoint.kind, endpoint_kind::PIPE | endpoint_kind::MEMORY) {
            return;
        }
        // Counters of plain calls find the endpoint by its inode number.
        let id = self.of(&name.endpoint);
        if name.endpoint.kind == endpoint_kind::TCP && self.sockets.len() < MAX_ENDPOINTS {
            self.sockets.insert(name.endpoint.object, id);
        }
        let identity = EndpointIdentity::of(&name.endpoint);
        let text = if name.endpoint.kind == endpoint_kind::TCP || name.endpoint.kind == endpoint_kind::UDP {
            self.connected(id, identity.pair);
            peer_of(&identity.pair)
        } else {
            self.path(name)
        };
        let key = identity.name_key();
        if self.names.len() < MAX_ENDPOINTS || self.names.contains_key(&key) {
            let names = self.names.entry(key).or_default();
            if names.len() < MAX_NAMES && !names.contains(&text) {
                names.push(text);
            } else if names.len() == MAX_NAMES && !names.contains(&text) {
                ANY_NAME.clone_into(&mut names[MAX_NAMES - 1]);
            }
        }
    }

    /// Records the addresses of a socket that had no peer when it was first observed, as in a call
    /// that connects and sends.
    fn connected(&mut self, id: EndpointId, pair: SocketPair) {
        let entry = &mut self.all[id.0 as usize].identity;
        if entry.pair.destination_port != 0 || pair.destination_port == 0 || entry.ino == 0 {
            return;
        }
        entry.pair = pair;
        for port in [pair.source_port, pair.destination_port] {
            *self.port_uses.entry(port).or_default() += 1;
        }
    }

    /// Returns the endpoint of an open TCP socket that a traced call used.
    pub(crate) fn socket(&self, sock: u64) -> Option<EndpointId> {
        self.sockets.get(&sock).copied()
    }

    /// Removes a TCP socket that was closed: its address is reused.
    pub(crate) fn socket_closed(&mut self, sock: u64) {
        self.sockets.remove(&sock);
    }

    /// Returns inode number, device number and kind of an endpoint, as counters of plain calls have
    /// them.
    pub(crate) fn inode_of(&self, id: EndpointId) -> (u64, u32, u16) {
        let identity = &self.all[id.0 as usize].identity;
        (identity.ino, identity.dev, identity.kind)
    }

    /// Returns the path of a file, from its components and its filesystem's mount point.
    fn path(&self, name: &EndpointName) -> String {
        let count = (name.count as usize).min(name.components.len());
        let mut parts: Vec<String> = name.components[..count].iter().map(component).collect();
        parts.reverse();
        // The root of a mount is a component of its own: "/".
        if parts.first().is_some_and(|part| part == "/") {
            parts.remove(0);
        }
        if parts.is_empty() {
            return String::new();
        }
        let path = parts.join("/");
        if name.flags & name_flag::TRUNCATED != 0 {
            return format!("…/{path}");
        }
        match self.mounts.get(&name.endpoint.dev) {
            Some(mount) => format!("{}/{path}", mount.trim_end_matches('/')),
            None if name.endpoint.kind == endpoint_kind::FILE => path,
            None => format!("/{path}"),
        }
    }

    /// Returns the endpoint as a report shows it.
    pub(crate) fn report(&self, id: EndpointId) -> Endpoint {
        let entry = &self.all[id.0 as usize];
        let state = &entry.identity;
        let names = self.names.get(&state.name_key()).map_or(&[][..], Vec::as_slice);
        let mut end = Endpoint::new(entry.kind.clone(), names.first().cloned().unwrap_or_default());
        match state.kind {
            endpoint_kind::TCP | endpoint_kind::UDP if state.pair.family != 0 => {
                let port = |port: u16| Some(port).filter(|&port| port != 0);
                end.name = peer_of(&state.pair);
                end.local_port = port(state.pair.source_port);
                end.peer_port = port(state.pair.destination_port);
                end.port = match (end.local_port, end.peer_port) {
                    (Some(_), Some(_)) => Some(self.service_port(&state.pair)),
                    (local, peer) => local.or(peer),
                };
            }
            endpoint_kind::FILE | endpoint_kind::BLOCK | endpoint_kind::CHAR if state.ino != 0 => {
                end.object = Some(format!("{}:{}:{}", state.dev >> 20, state.dev & 0xf_ffff, state.ino));
            }
            _ => {}
        }
        let others = names.iter().filter(|name| !name.is_empty() && **name != end.name);
        end.other_names = others.cloned().collect();
        if state.kind == endpoint_kind::FILE && state.ino == 0 {
            "several files".clone_into(&mut end.name);
        }
        if end.name.is_empty() && state.ino != 0 {
            end.name = match state.kind {
                endpoint_kind::FILE => format!(
                    "inode {} of device {}:{}",
                    state.ino,
                    state.dev >> 20,
                    state.dev & 0xf_ffff
                ),
                endpoint_kind::CHAR if state.device == DEV_NULL => "/dev/null".to_owned(),
                endpoint_kind::CHAR if state.device == DEV_ZERO => "/dev/zero".to_owned(),
                endpoint_kind::SOCKET if state.device == IPPROTO_MPTCP => format!("MPTCP [{}]", state.ino),
                _ => format!("[{}]", state.ino),
            };
        }
        end
    }

    /// Returns the kind of an endpoint.
    pub(crate) fn kind(&self, id: EndpointId) -> &EndpointKind {
        &self.all[id.0 as usize].kind
    }

    /// Returns the endpoint whose plain calls the kernel counted.
    ///
    /// The programs write one name per file, so the file may have been observed only in the other
    /// way of being open. `direct` says how the counted calls had it open.
    pub(crate) fn counted(&self, counted: &IoCounterKey, direct: bool) -> Option<Endpoint> {
        let key = |direct, generation| Key {
            kind: counted.kind,
            direct,
            device: 0,
            dev: counted.dev,
            generation,
            ino: counted.ino,
        };
        let exact = [key(direct, counted.generation), key(!direct, counted.generation)];
        let exact = exact.iter().find_map(|key| self.by_key.get_key_value(key));
        // Devices and sockets of other protocols have more in their key, and recordings of earlier
        // versions have no generation.
        let (_, id) = exact.or_else(|| {
            let same = |key: &&Key| key.ino == counted.ino && key.dev == counted.dev && key.kind == counted.kind;
            let candidates = self.by_key.iter().filter(|(key, _)| same(key));
            candidates.min_by_key(|(key, id)| (key.direct != direct, **id))
        })?;
        let mut end = self.report(*id);
        match end.kind {
            EndpointKind::DirectFile if !direct => end.kind = EndpointKind::File,
            EndpointKind::File if direct => end.kind = EndpointKind::DirectFile,
            _ => {}
        }
        Some(end)
    }
}

fn component(bytes: &[u8; COMPONENT_SIZE]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(COMPONENT_SIZE);
    let mut text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    // A component that fills its buffer was truncated.
    if end + 1 >= COMPONENT_SIZE {
        text.push('…');
    }
    text
}

/// Returns the other side of a connection in the usual notation; empty if there is none.
fn peer_of(pair: &SocketPair) -> String {
    let ip: IpAddr = match pair.family {
        2 => Ipv4Addr::new(
            pair.destination[0],
            pair.destination[1],
            pair.destination[2],
            pair.destination[3],
        )
        .into(),
        10 => Ipv6Addr::from(pair.destination).to_canonical(),
        _ => return String::new(),
    };
    if pair.destination_port == 0 {
        return String::new();
    }
    SocketAddr::new(ip, pair.destination_port).to_string()
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
