//! A flow: bytes that came from one end and arrived at another, with what became of them and why.

use serde::{Deserialize, Serialize};

use super::account::{Account, Verdict};
use super::cause::Cause;
use super::certificate::{Certificate, ProofKind};
use super::edge::Call;
use super::endpoint::{Endpoint, EndpointKind};
use super::open_enum::open_enum;
use super::tier::Tier;

/// Edges joined by pages, or by the same stretch of a pipe's stream; or many like flows, folded into one row.
///
/// In JSON `id`, `from`, `to`, `payload` and the account must be present; everything else has a default.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flow {
    /// Number of the flow in this report, from 1. Edges and looks refer to it.
    pub id: u64,
    /// The name of the path (`demo` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kinds of the places the bytes passed, in order, both ends included: `["file", "pipe", "tcp"]`. Empty if not one path.
    #[serde(default)]
    pub path: Vec<EndpointKind>,
    /// Where the bytes came from.
    pub from: Endpoint,
    /// Where they arrived.
    pub to: Endpoint,
    /// The process that gave the bytes to the last station, as numbered in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name; empty if not known or several.
    #[serde(default)]
    pub process: String,
    /// By what means the flow was watched, if not by the report's tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// How many flows this row stands for; 1 for a flow by itself.
    #[serde(default = "one")]
    pub folded: u64,
    /// The calls that carried the bytes, by name, in the order of the path.
    #[serde(default)]
    pub call_names: Vec<Call>,
    /// Number of calls that carried them; 0 if they were not counted.
    #[serde(default)]
    pub calls: u64,
    /// Bytes, counted once, at the last station: `moved + copied + unknown + excluded`.
    pub payload: u64,
    /// What became of them. A byte is `copied` if it was shown to be copied anywhere on the way.
    #[serde(flatten)]
    pub account: Account,
    /// Bytes that copies on the way wrote: a byte copied twice counts twice. At least `copied`. Looks are not in it.
    #[serde(default)]
    pub copy_bytes: u64,
    /// How often a byte that arrived was copied: `copy_bytes / (moved + copied + unknown)`, a number of copies. With
    /// `unknown` bytes it is a lower bound. Null if nothing arrived. `Report::summarize` computes it.
    #[serde(default)]
    pub copies_per_byte: Option<f64>,
    /// Bytes that the program copied out of the flow on the way, to look at them. They arrived all the same, so they are in
    /// none of the four parts; `peeks` says who looked.
    #[serde(default)]
    pub peeked_bytes: u64,
    /// Why bytes were copied or are unknown. Copies add up to no more than `copy_bytes`; unknowns to `unknown` exactly.
    #[serde(default)]
    pub reasons: Vec<Cause>,
    /// The evidence. Of a folded row: that of the largest flow that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// What the mutation oracle says of this path (`demo` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<OracleVerdict>,
    /// Whether what arrived was, byte for byte, what was sent (`demo` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_ok: Option<bool>,
}

const fn one() -> u64 {
    1
}

impl Flow {
    /// An empty flow between two ends. `Report::add_flow` gives it its number.
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

    /// Sets what became of the bytes, and with it the payload.
    pub fn set_account(&mut self, account: Account) {
        self.payload = account.total();
        self.account = account;
    }

    /// What can be said of the flow as a whole.
    pub fn verdict(&self) -> Verdict {
        self.account.verdict()
    }

    /// The mark of its row: `=`, `x`, `?` or `-`.
    pub fn mark(&self) -> char {
        self.account.mark()
    }

    /// Whether it ends in the program's own memory. Such bytes did not leave the program, so they are not in the share:
    /// what the program then writes counts where it arrives.
    pub fn ends_in_memory(&self) -> bool {
        self.to.kind == EndpointKind::Memory
    }

    /// `file → pipe → TCP socket`, or the two ends if there is no one path.
    pub fn path_text(&self) -> String {
        if self.path.is_empty() {
            return format!("{} → {}", self.from, self.to);
        }
        let labels: Vec<&str> = self.path.iter().map(EndpointKind::label).collect();
        super::format::printable(&labels.join(" → ")).into_owned()
    }

    /// What `copies_per_byte` must be.
    pub(crate) fn computed_copies_per_byte(&self) -> Option<f64> {
        let arrived = self.account.delivered();
        (arrived > 0).then(|| self.copy_bytes as f64 / arrived as f64)
    }

    /// Whether the oracle and the account agree. `None` if the oracle was not asked or could not answer.
    ///
    /// Shared pages must have moved. Private pages were copied, or moved by one of the ways that end in other pages: device
    /// DMA, zero pages, encryption.
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
    /// What the mutation oracle saw: a canary was moved, then changed at the source, and looked at where it arrived.
    pub enum OracleVerdict {
        /// The change was seen: both ends have the same page.
        Shared = "shared",
        /// It was not: the destination has pages of its own.
        Private = "private",
        /// It was not asked, or could not be here.
        NotTested = "not_tested",
    }
}

/// Whether the oracle and an account agree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Agreement {
    /// They say the same.
    Agrees,
    /// They contradict each other: one of the two is wrong.
    Disagrees,
    /// The account leaves bytes unknown, so there is nothing to contradict.
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
