//! Scope of a report, and its provenance: command, versions and time.

use serde::{Deserialize, Serialize};

use super::open_enum::open_enum;

open_enum! {
    /// Method by which the traced processes were selected.
    pub enum ScopeKind {
        /// Every process of the machine.
        Machine = "machine",
        /// A command that zctrace started, and its descendants.
        Command = "command",
        /// Processes that were already running, with or without their descendants.
        Processes = "processes",
        /// The processes of a control group.
        Cgroup = "cgroup",
        /// Uses of bufferlist in this process itself (tier L).
        Library = "library",
        /// The report does not state its scope.
        NotStated = "not_stated",
    }
}

/// Processes whose calls were traced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Scope {
    /// Method by which the processes were selected.
    pub kind: ScopeKind,
    /// Processes that were named on the command line, in the PID namespace of zctrace.
    #[serde(default)]
    pub pids: Vec<u32>,
    /// True if descendants were traced too, both existing and later ones.
    #[serde(default)]
    pub follow: bool,
    /// Control group, as a path below the root of the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Command that zctrace started, with its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// User as which the command ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Scope {
    /// Creates a scope that names no processes.
    pub fn new(kind: ScopeKind) -> Self {
        Self {
            kind,
            pids: Vec::new(),
            follow: false,
            cgroup: None,
            command: Vec::new(),
            user: None,
        }
    }
}

impl Default for Scope {
    /// Returns the scope of a report that states none. Any other value would be a claim.
    fn default() -> Self {
        Self::new(ScopeKind::NotStated)
    }
}

open_enum! {
    /// Subcommand that produced the report.
    pub enum Subcommand {
        /// `zctrace run`, or the live viewer.
        Run = "run",
        /// `zctrace assert`.
        Assert = "assert",
        /// `zctrace report`, from a recording.
        Report = "report",
        /// `zctrace demo`.
        Demo = "demo",
    }
}

/// Origin of the report: command, versions and time.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Provenance {
    /// Subcommand that produced the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Subcommand>,
    /// Version of zctrace; empty if not known.
    #[serde(default)]
    pub zctrace_version: String,
    /// Release of the kernel, as `uname -r` prints it; empty if not known.
    #[serde(default)]
    pub kernel_release: String,
    /// Hash of the eBPF object; absent if none was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_hash: Option<String>,
    /// Start of tracing, in milliseconds since 1970-01-01 00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_ms: Option<u64>,
    /// Duration of tracing, in nanoseconds.
    #[serde(default)]
    pub duration_ns: u64,
}
