//! Facts about the traced machine that the engine needs before the first record.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use zctrace_report::Level;

use crate::decode::endpoint::FileState;
use crate::decode::observation::PipeBufOps;
use crate::decode::socket_pair::Direction;
use crate::span::{Copies, FilePages};

/// Facts about the machine and the trace that the evidence needs.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Addresses by which the kernel marks the kind of a pipe's slots.
    pub pipe_buf_ops: PipeBufOps,
    /// Mount points of filesystems, by device number (major in the bits above 20).
    pub mounts: HashMap<u32, String>,
    /// Filesystems, by device number, whose files have no page cache and are copied into the pages
    /// that a splice passes on, such as `/proc`.
    pub copied_on_read: HashSet<u32>,
    /// Filesystems, by device number, whose files have page caches of their own, so that a page of
    /// another file never holds their bytes.
    pub own_pages: HashSet<u32>,
    /// Filesystems in memory, by device number. They accept `O_DIRECT` and use the page cache all
    /// the same, and their files share no extents.
    pub no_direct_io: HashSet<u32>,
    /// Filesystems, by device number, whose page cache receives a copy of everything that is
    /// written to a file without `O_DIRECT`.
    pub buffered: HashSet<u32>,
    /// Key that anonymizes page addresses. It differs for each trace.
    pub hash_key: u64,
    /// How closely bytes are observed.
    pub level: Level,
    /// Addresses of this host, in all of its network namespaces.
    pub local_addresses: HashSet<IpAddr>,
}

impl Config {
    /// Returns whether the other side of a connection is on this host, whatever its network
    /// namespace.
    pub(crate) fn is_peer_local(&self, direction: &Direction) -> bool {
        let address = |bytes: [u8; 16]| -> IpAddr {
            if direction.pair.family == 2 {
                IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
            } else {
                IpAddr::from(bytes).to_canonical()
            }
        };
        let peer = address(direction.pair.destination);
        peer.is_loopback() || peer == address(direction.pair.source) || self.local_addresses.contains(&peer)
    }

    /// Returns whose pages hold the bytes of `file` in the page cache.
    pub(crate) fn pages_of(&self, file: &FileState) -> FilePages {
        if file.is_block || self.own_pages.contains(&file.dev) {
            FilePages::Own
        } else {
            FilePages::OfAnyFile
        }
    }

    /// Returns what a kernel-owned page shows where a page of `file` was expected.
    pub(crate) fn copies_of(&self, file: &FileState) -> Copies {
        let is_known = file.is_block || self.buffered.contains(&file.dev) || self.copied_on_read.contains(&file.dev);
        if is_known { Copies::Shown } else { Copies::NotShown }
    }
}
