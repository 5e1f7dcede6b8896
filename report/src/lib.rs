//! Reports: the results of `zctrace run`, `assert`, `report` and `demo`, as types and as JSON.
//!
//! A producer fills a [`Report`] with flows, edges, processes and peeks, then calls
//! [`Report::finish`], which folds similar flows into rows and computes totals and share. A reader
//! calls [`Report::from_json`] and [`Report::check`].
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
//! Sizes are exact numbers of bytes. Times are nanoseconds (`_ns`) or milliseconds since 1970-01-01
//! 00:00 UTC (`_unix_ms`). Shares are fractions of 1. Integers may exceed 2^53, so readers in
//! languages that have only floating-point numbers must take care.
//!
//! # Compatibility
//!
//! See [`SchemaVersion`]. The JSON schema is committed as `schema/zctrace-report-1.schema.json` and
//! is available as [`JSON_SCHEMA`].

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
pub use check::{CHECK_RULES, CheckRule};
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

/// Result of one run, or of one interval of a run.
///
/// In JSON `schema`, `tier`, `totals`, `flows` and `loss` must be present. All other members have
/// defaults.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "zctrace report"))]
pub struct Report {
    /// Name and version of the format, as read. Reports are written with this crate's own version.
    #[serde(serialize_with = "version::write_current")]
    schema: SchemaVersion,
    /// Command, versions, kernel and time of the run.
    #[serde(default)]
    pub provenance: Provenance,
    /// Highest tier at which bytes were observed. A flow that was observed at another tier has its
    /// own.
    pub tier: Tier,
    /// Processes whose calls were traced.
    #[serde(default)]
    pub scope: Scope,
    /// Headline: the fractions of the delivered payload. Null if no payload was delivered. Computed
    /// from `totals`.
    #[serde(default)]
    share: Option<Share>,
    /// Sums over the flows that end in a file, a socket or a device. Computed.
    totals: Totals,
    /// Sums over the flows that end in a program's own memory. Such bytes did not leave the
    /// program, so the share excludes them. Computed.
    #[serde(default)]
    into_memory: Totals,
    /// Filter that selected the flows; absent if the report has all flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterSummary>,
    /// Flows, or rows that aggregate similar flows.
    pub flows: Vec<Flow>,
    /// Edges of the flows.
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// Processes that moved or copied bytes.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Pipes on which traced calls were made, the most recently used first.
    #[serde(default)]
    pub pipes: Vec<Pipe>,
    /// System limits on pipes; absent if they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe_limits: Option<PipeLimits>,
    /// Peeks at bytes of flows, by call site.
    #[serde(default)]
    pub peeks: Vec<Peek>,
    /// Zero-copy completions: the kernel's notifications about `MSG_ZEROCOPY` and `SEND_ZC` sends.
    #[serde(default)]
    pub zerocopy_completions: Vec<ZerocopySummary>,
    /// Segments of bufferlists that were in pipes, as named by the programs' journals.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// Numbers of rows omitted from the lists above to limit the size of the report.
    #[serde(default)]
    pub omitted: OmittedRows,
    /// Records that were lost during tracing.
    pub loss: Loss,
    /// Facts that could be observed, and operations that no fact covers.
    #[serde(default)]
    pub coverage: Coverage,
    /// Measured cost of tracing.
    #[serde(default)]
    pub overhead: Overhead,
    /// Assertions about the run, and their outcomes (`assert` only).
    #[serde(default)]
    pub assertions: Vec<Assertion>,
    /// Meanings of the reason codes in this report, by code. Computed.
    #[serde(default)]
    explanations: BTreeMap<String, Explanation>,
}

/// Numbers of omitted rows. Flows are never omitted, because they are folded instead.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OmittedRows {
    /// Omitted edges.
    #[serde(default)]
    pub edges: u64,
    /// Omitted processes.
    #[serde(default)]
    pub processes: u64,
    /// Omitted pipes.
    #[serde(default)]
    pub pipes: u64,
    /// Omitted peeks.
    #[serde(default)]
    pub peeks: u64,
    /// Omitted rows of zero-copy completions.
    #[serde(default)]
    pub zerocopy_completions: u64,
    /// Omitted segments.
    #[serde(default)]
    pub segments: u64,
}

impl Report {
    /// Creates an empty report of the current version.
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

    /// Adds a flow with the next free number, and returns the number.
    pub fn add_flow(&mut self, mut flow: Flow) -> u64 {
        let id = self.flows.iter().map(|flow| flow.id).max().unwrap_or(0) + 1;
        flow.id = id;
        self.flows.push(flow);
        id
    }

    /// Adds a flow to a report whose flows were only ever appended, and returns its number. The
    /// last flow then has the largest number, so this does not search among a hundred thousand
    /// flows.
    pub fn append_flow(&mut self, flow: Flow) -> u64 {
        let id = self.flows.last().map_or(0, |last| last.id) + 1;
        self.flows.push(Flow { id, ..flow });
        id
    }

    /// Folds flows into at most `max_rows` rows, then computes the derived members. Call it last.
    pub fn finish(&mut self, max_rows: usize) {
        self.fold(max_rows);
        self.summarize();
    }

    /// Computes the derived members: totals, share, copies per byte, and explanations of codes.
    ///
    /// Raises `copy_bytes` of a flow to `copied` if it is less, because a copied byte was copied at
    /// least once.
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
        // Explanations of codes that only a newer version defines are kept.
        let known = cause::explain(codes);
        self.explanations.extend(known);
    }

    /// Computes the sums over the flows that leave the program, and over those that end in its
    /// memory.
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

    /// Returns the version of the report that was read, or this crate's own version.
    pub const fn schema(&self) -> SchemaVersion {
        self.schema
    }

    /// Returns the fractions of the delivered payload as of the last `summarize`; `None` if no
    /// payload was delivered.
    pub const fn share(&self) -> Option<Share> {
        self.share
    }

    /// Returns the sums over the flows that end in a file, a socket or a device, as of the last
    /// `summarize`.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Returns the sums over the flows that end in a program's own memory, as of the last
    /// `summarize`.
    pub const fn into_memory(&self) -> &Totals {
        &self.into_memory
    }

    /// Returns the explanation of a code: this version's own, or else the one that the report
    /// contains.
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

    /// Returns the flow with this number.
    pub fn flow(&self, id: u64) -> Option<&Flow> {
        self.flows.iter().find(|flow| flow.id == id)
    }
}
