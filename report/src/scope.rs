//! Whose bytes a report is about, and who made it, when and on what.

use serde::{Deserialize, Serialize};

use super::open_enum::open_enum;

open_enum! {
    /// How the watched processes were chosen.
    pub enum ScopeKind {
        /// Every process of the machine.
        Machine = "machine",
        /// A command that was started, and its descendants.
        Command = "command",
        /// Processes that were running already, and perhaps their descendants.
        Processes = "processes",
        /// The processes of a control group.
        Cgroup = "cgroup",
        /// The uses of bufferlist in this process itself (tier L).
        Library = "library",
        /// The report does not say.
        NotStated = "not_stated",
    }
}

/// Whose bytes were watched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Scope {
    /// How they were chosen.
    pub kind: ScopeKind,
    /// The processes that were named, as numbered where zctrace ran.
    #[serde(default)]
    pub pids: Vec<u32>,
    /// Whether descendants were watched too, those of then and later.
    #[serde(default)]
    pub follow: bool,
    /// The control group, as a path below the root of the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The command that was started, with its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// The user it ran as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Scope {
    /// A scope with nothing named yet.
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
    /// What a report that does not say is read as: a guess would be a claim.
    fn default() -> Self {
        Self::new(ScopeKind::NotStated)
    }
}

open_enum! {
    /// Which command made the report.
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

/// Who made the report, and on what.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Provenance {
    /// The command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Subcommand>,
    /// The version of zctrace; empty if not known.
    #[serde(default)]
    pub zctrace_version: String,
    /// The kernel's release, as `uname -r` says it; empty if not known.
    #[serde(default)]
    pub kernel_release: String,
    /// The hash of the eBPF object; absent if none was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_hash: Option<String>,
    /// When watching began: milliseconds since 1970-01-01 00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_ms: Option<u64>,
    /// How long was watched, in nanoseconds.
    #[serde(default)]
    pub duration_ns: u64,
}
