//! Flows: bytes with one origin and one last endpoint, with their outcome and its reasons.

use serde::{Deserialize, Serialize};

use super::account::{Account, Verdict};
use super::cause::Cause;
use super::certificate::{Certificate, ProofKind};
use super::edge::Call;
use super::endpoint::{Endpoint, EndpointKind};
use super::open_enum::open_enum;
use super::tier::Tier;

/// Bytes with one origin, path, last endpoint and process. The row may also aggregate many similar
/// flows.
///
/// A flow consists of edges, joined by pages or by byte ranges of a pipe's stream. In JSON `id`,
/// `from`, `to`, `payload` and the account must be present. All other members have defaults.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flow {
    /// Number of the flow in this report, starting at 1. Edges, peeks and segments refer to it.
    pub id: u64,
    /// Name of the path (`demo` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kinds of the endpoints that the bytes passed, in order, both ends included: `["file",
    /// "pipe", "tcp"]`. Empty if the row has several paths.
    #[serde(default)]
    pub path: Vec<EndpointKind>,
    /// Origin of the bytes.
    pub from: Endpoint,
    /// Last endpoint of the bytes.
    pub to: Endpoint,
    /// Process that sent the bytes to the last station, in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the process; empty if it is not known or if there are several.
    #[serde(default)]
    pub process: String,
    /// Tier at which the flow was observed; absent if it is the report's tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Number of flows that the row aggregates; 1 for a single flow.
    #[serde(default = "one")]
    pub folded: u64,
    /// Names of the calls that carried the bytes, in the order of the path.
    #[serde(default)]
    pub call_names: Vec<Call>,
    /// Number of calls that carried the bytes; 0 if they were not counted.
    #[serde(default)]
    pub calls: u64,
    /// Bytes, each counted once at the last station: `moved + copied + unknown + excluded`.
    pub payload: u64,
    /// Outcome of the bytes. A byte is `copied` if at least one copy on its path was proven.
    #[serde(flatten)]
    pub account: Account,
    /// Bytes that copies on the path wrote. A byte that was copied twice counts twice, so the
    /// number is at least `copied`. Bytes of peeks are not included.
    #[serde(default)]
    pub copy_bytes: u64,
    /// Average number of copies of a delivered byte: `copy_bytes / (moved + copied + unknown)`. It
    /// is a lower bound if there are `unknown` bytes, and null if no byte was delivered.
    /// `Report::summarize` computes it.
    #[serde(default)]
    pub copies_per_byte: Option<f64>,
    /// Bytes of the flow that the program peeked at. A peek copies bytes and leaves them in the
    /// flow, so they are in none of the four parts because of the peek. `peeks` lists the callers.
    #[serde(default)]
    pub peeked_bytes: u64,
    /// Reasons for copied and unknown bytes. Reasons of copies add up to at most `copy_bytes`,
    /// those of unknowns to exactly `unknown`.
    #[serde(default)]
    pub reasons: Vec<Cause>,
    /// Evidence for the moved bytes. An aggregate row has the certificate of its largest flow that
    /// has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Result of the mutation oracle for this path (`demo` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<OracleVerdict>,
    /// Result of comparing the delivered bytes with the sent ones: true if all are equal (`demo`
    /// only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_ok: Option<bool>,
}

const fn one() -> u64 {
    1
}

impl Flow {
    /// Creates a flow without bytes between two endpoints. `Report::add_flow` assigns its number.
    ///
    /// ```
    /// use zctrace_report::{Account, Endpoint, EndpointKind, Flow, Verdict};
    ///
    /// let mut flow = Flow::new(Endpoint::new(EndpointKind::File, "/srv/a"), Endpoint::new(EndpointKind::Tcp, "10.0.0.7:80"));
    /// assert_eq!(flow.verdict(), Verdict::Nothing);
    /// flow.set_account(Account::new(4096, 0, 0));
    /// assert_eq!((flow.payload, flow.verdict()), (4096, Verdict::Moved));
    /// ```
    pub fn new(from: Endpoint, to: Endpoint) -> Self {
        Self {
            id: 0,
            name: None,
            path: vec![from.kind.clone(), to.kind.clone()],
            from,
            to,
            pid: None,
            process: String::new(),
            tier: None,
            folded: 1,
            call_names: Vec::new(),
            calls: 0,
            payload: 0,
            account: Account::default(),
            copy_bytes: 0,
            copies_per_byte: None,
            peeked_bytes: 0,
            reasons: Vec::new(),
            certificate: None,
            oracle: None,
            content_ok: None,
        }
    }

    /// Sets the account, and the payload to its total.
    pub fn set_account(&mut self, account: Account) {
        self.payload = account.total();
        self.account = account;
    }

    /// Returns the verdict on the flow.
    pub fn verdict(&self) -> Verdict {
        self.account.verdict()
    }

    /// Returns the mark of the flow's row: `=`, `x`, `?` or `-`.
    pub fn mark(&self) -> char {
        self.account.mark()
    }

    /// Returns whether the flow ends in the program's own memory. Such bytes did not leave the
    /// program, so the share excludes them. If the program writes them on, they count at the
    /// endpoint that they reach.
    pub fn ends_in_memory(&self) -> bool {
        self.to.kind == EndpointKind::Memory
    }

    /// Returns the path, such as `file → pipe → TCP socket`, or the two endpoints if the row has
    /// several paths.
    pub fn path_text(&self) -> String {
        if self.path.is_empty() {
            return format!("{} → {}", self.from, self.to);
        }
        let labels: Vec<&str> = self.path.iter().map(EndpointKind::label).collect();
        super::format::printable(&labels.join(" → ")).into_owned()
    }

    /// Computes `copies_per_byte`.
    pub(crate) fn computed_copies_per_byte(&self) -> Option<f64> {
        let arrived = self.account.delivered();
        (arrived > 0).then(|| self.copy_bytes as f64 / arrived as f64)
    }

    /// Returns whether the oracle and the account agree. Returns `None` if there is no result of
    /// the oracle.
    ///
    /// If the oracle found a shared page, the bytes must have moved. If it found a private page,
    /// they were copied, or moved by a mechanism that ends in other pages: device DMA, zero pages,
    /// encryption.
    ///
    /// ```
    /// use zctrace_report::{Account, Agreement, Endpoint, EndpointKind, Flow, OracleVerdict};
    ///
    /// let mut flow = Flow::new(Endpoint::new(EndpointKind::File, "a"), Endpoint::new(EndpointKind::File, "b"));
    /// flow.set_account(Account::new(0, 4096, 0));
    /// assert_eq!(flow.agreement(), None);
    /// flow.oracle = Some(OracleVerdict::Private);
    /// assert_eq!(flow.agreement(), Some(Agreement::Agrees));
    /// flow.oracle = Some(OracleVerdict::Shared);
    /// assert_eq!(flow.agreement(), Some(Agreement::Disagrees));
    /// ```
    pub fn agreement(&self) -> Option<Agreement> {
        let Account {
            moved, copied, unknown, ..
        } = self.account;
        let (wrong, right) = match self.oracle.as_ref()? {
            OracleVerdict::Shared => (copied > 0, moved > 0 && unknown == 0),
            OracleVerdict::Private => (
                moved > 0 && !self.ends_in_other_pages(),
                copied + moved > 0 && unknown == 0,
            ),
            OracleVerdict::NotTested | OracleVerdict::Other(_) => return None,
        };
        Some(match (wrong, right) {
            (true, _) => Agreement::Disagrees,
            (false, true) => Agreement::Agrees,
            (false, false) => Agreement::Inconclusive,
        })
    }

    fn ends_in_other_pages(&self) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| {
            let ways = [ProofKind::Dma, ProofKind::Zero, ProofKind::Encryption];
            certificate.hops.iter().any(|hop| ways.contains(&hop.proof))
        })
    }
}

open_enum! {
    /// Result of the mutation oracle, which moves a canary page, changes it at the source, and
    /// reads it at the destination.
    pub enum OracleVerdict {
        /// The destination showed the change, so both endpoints have the same page.
        Shared = "shared",
        /// The destination did not show the change, so it has a page of its own.
        Private = "private",
        /// The oracle did not run, or cannot run for this path.
        NotTested = "not_tested",
    }
}

/// Relation between the oracle's result and an account.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Agreement {
    /// Both have the same result.
    Agrees,
    /// The results contradict each other, so one of them is wrong.
    Disagrees,
    /// The account leaves bytes unknown, so it can neither confirm nor contradict the oracle.
    Inconclusive,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hop, Level, Station, StationKind};

    fn flow(account: Account, oracle: OracleVerdict) -> Flow {
        let mut flow = Flow::new(
            Endpoint::new(EndpointKind::File, "a"),
            Endpoint::new(EndpointKind::DirectFile, "b"),
        );
        flow.set_account(account);
        flow.oracle = Some(oracle);
        flow
    }

    #[test]
    fn private_pages_may_have_moved_only_by_a_way_that_ends_in_other_pages() {
        let mut moved = flow(Account::new(8, 0, 0), OracleVerdict::Private);
        assert_eq!(moved.agreement(), Some(Agreement::Disagrees));
        let station = Station::new(StationKind::BioVec, moved.to.clone());
        let mut certificate = Certificate::new(Level::Full, "the block layer of vda", 8);
        certificate
            .hops
            .push(Hop::new(station, "block_bio_queue", Tier::T0, ProofKind::Dma, 8));
        moved.certificate = Some(certificate);
        assert_eq!(moved.agreement(), Some(Agreement::Agrees));
    }

    #[test]
    fn unknown_bytes_leave_it_open_but_do_not_hide_a_contradiction() {
        assert_eq!(
            flow(Account::new(8, 0, 1), OracleVerdict::Shared).agreement(),
            Some(Agreement::Inconclusive)
        );
        assert_eq!(
            flow(Account::new(8, 1, 1), OracleVerdict::Shared).agreement(),
            Some(Agreement::Disagrees)
        );
        assert_eq!(
            flow(Account::new(0, 8, 1), OracleVerdict::Private).agreement(),
            Some(Agreement::Inconclusive)
        );
        assert_eq!(
            flow(Account::default(), OracleVerdict::Private).agreement(),
            Some(Agreement::Inconclusive)
        );
        assert_eq!(flow(Account::new(8, 0, 0), OracleVerdict::NotTested).agreement(), None);
    }
}
