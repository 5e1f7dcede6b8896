//! Options of a trace.

use std::path::PathBuf;

use zctrace_report::{Scope, ScopeKind};

use crate::probe::{Hooks, LoadOptions, ScopeFilter};

/// Scope and level of detail of a trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Scope, as reports describe it.
    pub scope: Scope,
    /// Scope, as the eBPF programs apply it.
    pub filter: ScopeFilter,
    /// True if descendants are traced.
    pub descendants: bool,
    /// Size of the ring buffer in bytes: a power of two.
    pub ring_bytes: u32,
    /// Groups of probes to attach.
    pub hooks: Hooks,
    /// BTF file to use instead of the kernel's own types.
    pub btf: Option<PathBuf>,
    /// True if [`snapshot_open_files`](super::Tracer::snapshot_open_files) will be called, for
    /// processes that already run.
    pub snapshot_open_files: bool,
}

impl Default for Options {
    fn default() -> Self {
        let load_options = LoadOptions::default();
        Self {
            scope: Scope::new(ScopeKind::Processes),
            filter: load_options.scope,
            descendants: load_options.descendants,
            ring_bytes: load_options.ring_bytes,
            hooks: load_options.hooks,
            btf: None,
            snapshot_open_files: false,
        }
    }
}
