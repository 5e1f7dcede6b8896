//! The report: what `zctrace run`, `assert`, `report` and `demo` found, as types and as JSON.
//!
//! A maker fills a [`Report`] with flows, edges, processes and looks, then calls [`Report::finish`], which folds many like
//! flows into rows and computes totals and share. A reader calls [`Report::from_json`] and [`Report::check`].
//!
//! ```
//! use zctrace_contract::Reason;
//! use zctrace_report::{Account, Cause, Endpoint, EndpointKind, Flow, Report, Scope, ScopeKind, Tier, format};
//!
//! let mut report = Report::new(Tier::L, Scope::new(ScopeKind::Library));
//! let mut flow = Flow::new(Endpoint::new(EndpointKind::Tcp, "10.0.0.7:5000"), Endpoint::new(EndpointKind::File, "/srv/in.bin"));
//! flow.set_account(Account::new(0, 65_536, 0));
//! flow.reasons.push(Cause::new(Reason::PageCacheSink, 65_536, 1));
//! report.add_flow(flow);
//! report.finish(50);
//!
//! report.check().expect("the numbers add up");
//! assert!(format::headline(&report).starts_with("0.0 % MOVED"));
//! assert_eq!(Report::from_json(&report.to_json()).unwrap(), report);
//! ```
//!
//! # Units
//!
//! Sizes are bytes, exact. Times are nanoseconds (`_ns`) or milliseconds since 1970-01-01 00:00 UTC (`_unix_ms`). Shares are
//! fractions of 1. Integers may exceed 2^53, so readers in languages that have only floating point must take care.
//!
//! # Compatibility
//!
//! See [`SchemaVersion`]. The JSON schema is committed as `schema/zctrace-report-1.schema.json` and is [`JSON_SCHEMA`].

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod account;
mod assertion;
mod cause;
mod certificate;
mod check;
mod coverage;
mod edge;
mod endpoint;
mod filter_summary;
mod flow;
mod fold;
pub mod format;
mod loss;
mod open_enum;
mod overhead;
mod peek;
mod pipe;
mod process;
#[cfg(feature = "schema")]
pub mod schema;
mod scope;
mod segment;
mod tier;
mod totals;
mod version;
mod violation;
mod zerocopy;

pub use account::{Account, Excluded, Verdict};
pub use assertion::{Assertion, AssertionOutcome};
pub use cause::{CallSite, Cause, Explanation, ReasonCode};
pub use certificate::{Certificate, Custody, Digest, Hop, Level, PageExample, ProofKind};
pub use coverage::{Coverage, Fact, FactStatus, NotCovered, StillRunning};
pub use edge::{Call, Edge};
pub use endpoint::{Endpoint, EndpointKind, Station, StationKind};
pub use filter_summary::FilterSummary;
pub use flow::{Agreement, Flow, OracleVerdict};
pub use loss::{Loss, ProgramLoss};
pub use overhead::Overhead;
pub use peek::{ByteRange, Peek};
pub use pipe::{Pipe, PipeLimits};
pub use process::Process;
pub use scope::{Provenance, Scope, ScopeKind, Subcommand};
pub use segment::{JournalAgreement, Segment, SegmentNames};
pub use tier::Tier;
pub use totals::{Share, Totals};
pub use version::{ReadError, SchemaVersion};
pub use violation::{Rule, Violation};
pub use zerocopy::{CompletionSource, ZerocopySummary};

/// The published JSON schema (draft 2020-12) of all 1.x reports.
pub const JSON_SCHEMA: &str = include_str!("../schema/zctrace-report-1.schema.json");

/// What zctrace found in one run, or in one interval of a run.
///
/// In JSON `schema`, `tier`, `totals`, `flows` and `loss` must be present; everything else has a default.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "zctrace report"))]
pub struct Report {
    /// Name and version of this format, as read. Written as this version's own.
    #[serde(serialize_with = "version::write_current")]
    schema: SchemaVersion,
    /// Who made it, when, on what.
    #[serde(default)]
    pub provenance: Provenance,
    /// By what means bytes were watched: the highest tier in use. A flow that was watched by another says so.
    pub tier: Tier,
    /// Whose bytes were watched.
    #[serde(default)]
    pub scope: Scope,
    /// The headline: parts of the payload that arrived. Null if nothing arrived. Computed from `totals`.
    #[serde(default)]
    share: Option<Share>,
    /// Sums over the flows that end in a file, a socket or a device. Computed.
    totals: Totals,
    /// Sums over the flows that end in a program's own memory. They did not leave the program, so they are not in the share.
    /// Computed.
    #[serde(default)]
    into_memory: Totals,
    /// By which filter only some flows were left in the report; absent if all are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterSummary>,
    /// The flows, or rows of like flows.
    pub flows: Vec<Flow>,
    /// The edges.
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// The processes that moved or copied bytes.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// The pipes that calls were made on, those used last first.
    #[serde(default)]
    pub pipes: Vec<Pipe>,
    /// The system's limits on pipes; absent if they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe_limits: Option<PipeLimits>,
    /// Looks at bytes on the way, by place in the program.
    #[serde(default)]
    pub peeks: Vec<Peek>,
    /// What the kernel itself said of sends that should not copy.
    #[serde(default)]
    pub zerocopy_completions: Vec<ZerocopySummary>,
    /// Segments of bufferlists that lay in pipes, as the programs' journals name them.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// Rows that were left out of the lists above to bound the report.
    #[serde(default)]
    pub omitted: OmittedRows,
    /// What was lost while watching.
    pub loss: Loss,
    /// What could be seen here, and what could not.
    #[serde(default)]
    pub coverage: Coverage,
    /// What watching cost.
    #[serde(default)]
    pub overhead: Overhead,
    /// What was asserted of the run, and whether it held (`assert` only).
    #[serde(default)]
    pub assertions: Vec<Assertion>,
    /// What the reason codes of this report mean, by code. Computed.
    #[serde(default)]
    explanations: BTreeMap<String, Explanation>,
}

/// Numbers of rows that were left out. Flows are never left out: they are folded.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OmittedRows {
    /// Edges.
    #[serde(default)]
    pub edges: u64,
    /// Processes.
    #[serde(default)]
    pub processes: u64,
    /// Pipes.
    #[serde(default)]
    pub pipes: u64,
    /// Looks.
    #[serde(default)]
    pub peeks: u64,
    /// Notices.
    #[serde(default)]
    pub zerocopy_completions: u64,
    /// Segments.
    #[serde(default)]
    pub segments: u64,
}

impl Report {
    /// An empty report of this version.
    pub fn new(tier: Tier, scope: Scope) -> Self {
        Self {
            schema: SchemaVersion::CURRENT,
            provenance: Provenance::default(),
            tier,
            scope,
            share: None,
            totals: Totals::default(),
            into_memory: Totals::default(),
            filter: None,
            flows: Vec::new(),
            edges: Vec::new(),
            processes: Vec::new(),
            pipes: Vec::new(),
            pipe_limits: None,
            peeks: Vec::new(),
            zerocopy_completions: Vec::new(),
            segments: Vec::new(),
            omitted: OmittedRows::default(),
            loss: Loss::default(),
            coverage: Coverage::default(),
            overhead: Overhead::default(),
            assertions: Vec::new(),
            explanations: BTreeMap::new(),
        }
    }

    /// Adds a flow, gives it the next number and returns that.
    pub fn add_flow(&mut self, mut flow: Flow) -> u64 {
        let id = self.flows.iter().map(|flow| flow.id).max().unwrap_or(0) + 1;
        flow.id = id;
        self.flows.push(flow);
        id
    }

    /// The same in a report whose flows were only ever appended: the last one has the largest number, and none is looked for
    /// among a hundred thousand.
    pub fn append_flow(&mut self, flow: Flow) -> u64 {
        let id = self.flows.last().map_or(0, |last| last.id) + 1;
        self.flows.push(Flow { id, ..flow });
        id
    }

    /// Folds flows into at most `max_rows` rows, then computes what follows from them. Call it last.
    pub fn finish(&mut self, max_rows: usize) {
        self.fold(max_rows);
        self.summarize();
    }

    /// Computes all that follows from the rest: totals, share, copies per byte, explanations of codes.
    ///
    /// Where `copy_bytes` of a flow is less than `copied` it is set to that: what was copied was copied at least once.
    pub fn summarize(&mut self) {
        for flow in &mut self.flows {
            flow.copy_bytes = flow.copy_bytes.max(flow.account.copied);
            flow.copies_per_byte = flow.computed_copies_per_byte();
        }
        (self.totals, self.into_memory) = self.computed_totals();
        self.share = self.totals.share();
        let of_flows = self.flows.iter().flat_map(|flow| &flow.reasons);
        let of_edges = self.edges.iter().flat_map(|edge| &edge.reasons);
        let of_looks = self.peeks.iter().map(|look| &look.code);
        let codes = of_flows.chain(of_edges).map(|cause| &cause.code).chain(of_looks);
        // What a newer version wrote about codes that are not known here is kept.
        let known = cause::explain(codes);
        self.explanations.extend(known);
    }

    /// Sums over the flows that leave the program, and over those that end in its memory.
    fn computed_totals(&self) -> (Totals, Totals) {
        let mut sums = (Totals::default(), Totals::default());
        for flow in &self.flows {
            let sum = if flow.ends_in_memory() {
                &mut sums.1
            } else {
                &mut sums.0
            };
            sum.add(flow.payload, &flow.account);
        }
        sums
    }

    /// The version that was read, or this crate's own.
    pub const fn schema(&self) -> SchemaVersion {
        self.schema
    }

    /// The parts of the payload that arrived; `None` if nothing did. As of the last `summarize`.
    pub const fn share(&self) -> Option<Share> {
        self.share
    }

    /// Sums over the flows that end in a file, a socket or a device. As of the last `summarize`.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Sums over the flows that end in a program's own memory. As of the last `summarize`.
    pub const fn into_memory(&self) -> &Totals {
        &self.into_memory
    }

    /// The explanation of a code: this version's own, else what the report itself says.
    ///
    /// ```
    /// # use zctrace_report::{ReasonCode, Report, Scope, Tier};
    /// let report = Report::new(Tier::L, Scope::default());
    /// assert!(report.explanation(&ReasonCode::new("ZC03")).unwrap().description.contains("page cache"));
    /// assert_eq!(report.explanation(&ReasonCode::new("ZC77")), None);
    /// ```
    pub fn explanation(&self, code: &ReasonCode) -> Option<Explanation> {
        cause::explain(std::iter::once(code))
            .into_values()
            .next()
            .or_else(|| self.explanations.get(code.as_str()).cloned())
    }

    /// The flow of this number.
    pub fn flow(&self, id: u64) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.id == id)
    }
}
