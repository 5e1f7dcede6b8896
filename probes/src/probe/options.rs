//! What to load, and for whom.

use std::path::PathBuf;

use zctrace_records::program;

use super::programs::ProgramSpec;
use super::scope::ScopeFilter;
use crate::layout::offsets::ProbeGroup;

/// What to load, and for whom.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Whom to trace.
    pub scope: ScopeFilter,
    /// Whether what traced processes start is traced, too (with [`ScopeFilter::Processes`]).
    pub descendants: bool,
    /// What a process [announces](super::announce) to be traced; 0: nobody can.
    pub cookie: u64,
    /// Bytes of the ring: a power of two, and at least a page.
    pub ring_bytes: u32,
    /// What to look at.
    pub hooks: Hooks,
    /// A file with the kernel's types, instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// What sums over pages are mixed with: a number that nobody can guess.
    pub digest_key: u64,
    /// Whether [`snapshot_open_files`](super::Probes::snapshot_open_files) will be called.
    pub snapshot_open_files: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            scope: ScopeFilter::default(),
            descendants: true,
            cookie: 0,
            ring_bytes: 16 << 20,
            hooks: Hooks::default(),
            btf: None,
            digest_key: 0,
            snapshot_open_files: false,
        }
    }
}

/// What to look at. Processes are always followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a switch of its own.
pub struct Hooks {
    /// Entries and exits of system calls. They cost every process of the machine some nanoseconds for each of its
    /// calls.
    pub calls: bool,
    /// Packets of TCP connections.
    pub packets: bool,
    /// Messages of UNIX sockets.
    pub unix: bool,
    /// Requests to disks.
    pub bios: bool,
    /// Pages of files that calls make dirty.
    pub dirty: bool,
    /// Sums over the pages that go to TCP connections, which need no hook of system calls.
    pub digest: Option<DigestMode>,
}

/// What is summed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigestMode {
    /// Pages, where calls hand them over and where packets carry them: the level `digest`.
    Pages,
    /// Bytes that calls hand over: the level `counters`.
    Bytes,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            calls: true,
            packets: true,
            unix: true,
            bios: true,
            dirty: true,
            digest: None,
        }
    }
}

impl Hooks {
    /// Nothing but sums.
    pub const fn digest_only(mode: DigestMode) -> Self {
        Self {
            calls: false,
            packets: false,
            unix: false,
            bios: false,
            dirty: false,
            digest: Some(mode),
        }
    }

    /// Whether a program is asked for.
    pub(super) fn includes(self, spec: &ProgramSpec) -> bool {
        let packets = spec.number != program::DIGEST_XMIT || self.digest == Some(DigestMode::Pages);
        self.includes_group(spec.group) && packets
    }

    const fn includes_group(self, group: ProbeGroup) -> bool {
        match group {
            ProbeGroup::Calls => self.calls,
            ProbeGroup::ZeroCopy => self.calls && self.packets,
            ProbeGroup::Packets => self.packets,
            ProbeGroup::Unix => self.unix,
            ProbeGroup::Bios => self.bios,
            ProbeGroup::Dirty => self.dirty,
            ProbeGroup::Digest => self.digest.is_some(),
            ProbeGroup::Always => true,
        }
    }
}
