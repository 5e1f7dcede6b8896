//! Options of a trace.

use std::path::PathBuf;

use zctrace_report::{Scope, ScopeKind};

use crate::probe::{Hooks, LoadOptions, ScopeFilter};

/// Whom to trace, and how closely.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose bytes, as the report will say.
    pub scope: Scope,
    /// How they are told from all others.
    pub filter: ScopeFilter,
    /// Whether descendants are traced too.
    pub descendants: bool,
    /// Bytes of the ring between the kernel and this process: a power of two.
    pub ring_bytes: u32,
    /// What to look at.
    pub hooks: Hooks,
    /// A file with the kernel's types, instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// Whether [`snapshot_open_files`](super::Tracer::snapshot_open_files) will be called: for what runs already.
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
