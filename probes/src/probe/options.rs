//! Options of loading: scope, probes and parameters.

use std::path::PathBuf;

use zctrace_records::{ProbeGroup, ProgramSpec, program};

use super::scope::ScopeFilter;

/// Options of [`Probes::load`](super::Probes::load).
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Selection of the traced processes.
    pub scope: ScopeFilter,
    /// True if children of traced processes are traced, with [`ScopeFilter::Processes`].
    pub descendants: bool,
    /// Cookie with which a process [announces](super::announce) itself for tracing; 0 disables
    /// announcements.
    pub cookie: u64,
    /// Size of the ring buffer in bytes: a power of two, and at least a page.
    pub ring_bytes: u32,
    /// Groups of probes to attach.
    pub hooks: Hooks,
    /// BTF file to use instead of the kernel's own types.
    pub btf: Option<PathBuf>,
    /// Secret that is mixed into page digests, so that a traced program cannot forge them.
    pub digest_key: u64,
    /// True if [`snapshot_open_files`](super::Probes::snapshot_open_files) will be called.
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

/// Groups of probes to attach. Probes of process events are always attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools)] // Each field is an independent switch.
pub struct Hooks {
    /// Entries and exits of system calls. Attached, they add some nanoseconds to every system call
    /// of every process.
    pub calls: bool,
    /// Packets of TCP connections.
    pub packets: bool,
    /// Messages of UNIX sockets.
    pub unix: bool,
    /// Block I/O requests.
    pub bios: bool,
    /// Page-cache pages that system calls dirty.
    pub dirty: bool,
    /// Digests of the pages that TCP connections send, which need no probe of system calls.
    pub digest: Option<DigestMode>,
}

/// Quantity that digests sum up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigestMode {
    /// Pages, both where calls send them and where packets carry them: level `digest`.
    Pages,
    /// Bytes that calls send: level `counters`.
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
    /// Selects digests and no other probes.
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

    /// Returns whether a program is selected.
    pub(super) fn includes(self, spec: &ProgramSpec) -> bool {
        let packets = spec.number != program::DIGEST_XMIT || self.digest == Some(DigestMode::Pages);
        self.includes_group(spec.group) && packets
    }

    const fn includes_group(self, group: ProbeGroup) -> bool {
        match group {
            ProbeGroup::Calls | ProbeGroup::IoUring => self.calls,
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
