//! Combines the receipts of a path to one account, and checks whether account, payload and oracle
//! agree.
//!
//! Pure: no file or socket is used here, so that injected disagreements can be tested.

use bufferlist::oracle::Verdict;
use bufferlist::{Reason, Receipt};
use zctrace_contract::reason::Class;
use zctrace_report::{Account, Agreement, Cause, Flow, OracleVerdict};

/// Result of one transfer of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) moved: u64,
    pub(crate) copied: u64,
    pub(crate) unknown: u64,
    /// Reasons with their bytes: copies first, then unknown bytes.
    pub(crate) reasons: Vec<(Reason, u64)>,
}

impl From<Receipt> for Leg {
    /// Reads the receipt, which asks the oracle. To be called only when the path is idle.
    fn from(receipt: Receipt) -> Self {
        Self {
            moved: receipt.moved(),
            copied: receipt.copied(),
            unknown: receipt.unknown(),
            reasons: receipt.reasons(),
        }
    }
}

impl Leg {
    fn total(&self) -> u64 {
        self.moved + self.copied + self.unknown
    }
}

/// Sets the account of a flow of `payload` bytes that went over all of `legs`.
///
/// The mapping of bytes between legs is not known, so the account states guaranteed bounds. Copied
/// is the maximum over the legs, and moved is the rest if no two legs copied or lost track of the
/// same byte.
pub(crate) fn set_account(flow: &mut Flow, payload: u64, legs: &[Leg]) {
    let copied = legs.iter().map(|leg| leg.copied).max().unwrap_or(0).min(payload);
    let doubted: u64 = legs.iter().map(|leg| leg.copied + leg.unknown).sum();
    let moved = if legs.is_empty() {
        0
    } else {
        payload.saturating_sub(doubted)
    };
    flow.set_account(Account::new(moved, copied, payload - copied - moved));
    flow.copy_bytes = legs.iter().map(|leg| leg.copied).sum();

    let mut unexplained = flow.account.unknown;
    for leg in legs {
        for &(reason, bytes) in &leg.reasons {
            if reason.class() == Class::Copy {
                add_reason(flow, reason, bytes);
            } else {
                let unknown = bytes.min(unexplained);
                unexplained -= unknown;
                add_reason(flow, reason, unknown);
            }
        }
    }
    if unexplained > 0 {
        add_reason(flow, Reason::NotShown, unexplained);
    }
}

fn add_reason(flow: &mut Flow, reason: Reason, bytes: u64) {
    if bytes == 0 {
        return;
    }
    match flow.reasons.iter_mut().find(|cause| cause.code == reason.into()) {
        Some(cause) => cause.bytes += bytes,
        None => flow.reasons.push(Cause::new(reason, bytes, 0)),
    }
}

/// Converts a verdict for a report.
pub(crate) fn oracle_verdict(verdict: Verdict) -> OracleVerdict {
    match verdict {
        Verdict::Shared => OracleVerdict::Shared,
        Verdict::Private => OracleVerdict::Private,
    }
}

/// Judgment of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgment {
    /// Payload, receipt and oracle agree.
    Passed,
    /// Nothing disagrees, but a part could not be asked or done here, for this cause.
    Inconclusive(String),
    /// Payload, receipt and oracle disagree, so that one of them is wrong.
    Failed(String),
}

/// Judges a flow that should have carried `len` bytes. Its payload check and oracle verdict are
/// set; `oracle_error` says why the oracle had no answer.
pub(crate) fn judge(flow: &Flow, len: u64, legs: &[Leg], oracle_error: Option<&str>) -> Judgment {
    if flow.content_ok != Some(true) {
        return Judgment::Failed("the delivered bytes differ from the sent ones".to_owned());
    }
    if let Some(leg) = legs.iter().find(|leg| leg.total() != len) {
        return Judgment::Failed(format!(
            "{len} bytes were sent, but a receipt accounts for {}",
            leg.total()
        ));
    }
    let oracle = flow.oracle.as_ref().unwrap_or(&OracleVerdict::NotTested);
    match flow.agreement() {
        None => Judgment::Inconclusive(format!(
            "the oracle could not answer here: {}",
            oracle_error.unwrap_or("it was not asked")
        )),
        Some(Agreement::Agrees | Agreement::Inconclusive) => Judgment::Passed,
        Some(Agreement::Disagrees) if *oracle == OracleVerdict::Shared && legs.iter().all(is_resource_shortage) => {
            let codes: Vec<&str> = flow.reasons.iter().map(|cause| cause.code.as_str()).collect();
            Judgment::Inconclusive(format!(
                "the oracle says shared, but the library had to copy ({})",
                codes.join(", ")
            ))
        }
        Some(Agreement::Disagrees) => Judgment::Failed(format!(
            "the oracle says {oracle}, but the receipt says {} moved and {} copied",
            flow.account.moved, flow.account.copied
        )),
    }
}

/// Returns whether the library itself made the copies of a leg, because the system refused a
/// resource.
fn is_resource_shortage(leg: &Leg) -> bool {
    let mut copies = leg.reasons.iter().filter(|(reason, _)| reason.class() == Class::Copy);
    copies.all(|(reason, _)| matches!(reason, Reason::NoPipe | Reason::Forbidden | Reason::CannotSplice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_report::{Endpoint, EndpointKind};

    /// Returns a leg whose copied bytes, or else unknown bytes, have one reason.
    fn leg(moved: u64, copied: u64, unknown: u64, reason: Option<Reason>) -> Leg {
        let bytes = if copied > 0 { copied } else { unknown };
        Leg {
            moved,
            copied,
            unknown,
            reasons: reason.map(|reason| (reason, bytes)).into_iter().collect(),
        }
    }

    fn flow(legs: &[Leg], oracle: Option<Verdict>) -> Flow {
        let mut flow = Flow::new(
            Endpoint::new(EndpointKind::File, "a"),
            Endpoint::new(EndpointKind::Tcp, "b"),
        );
        set_account(&mut flow, 100, legs);
        flow.oracle = Some(oracle.map_or(OracleVerdict::NotTested, oracle_verdict));
        flow.content_ok = Some(true);
        flow
    }

    fn judged(legs: &[Leg], oracle: Option<Verdict>) -> Judgment {
        judge(&flow(legs, oracle), 100, legs, None)
    }

    fn is_failed(judgment: &Judgment) -> bool {
        matches!(judgment, Judgment::Failed(_))
    }

    fn moved() -> Leg {
        leg(100, 0, 0, None)
    }

    fn copied() -> Leg {
        leg(0, 100, 0, Some(Reason::PageCacheSink))
    }

    fn unknown() -> Leg {
        leg(0, 0, 100, Some(Reason::DirectDevice))
    }

    #[test]
    fn agreement_passes() {
        assert_eq!(judged(&[moved()], Some(Verdict::Shared)), Judgment::Passed);
        assert_eq!(judged(&[moved(), copied()], Some(Verdict::Private)), Judgment::Passed);
        assert_eq!(judged(&[unknown()], Some(Verdict::Private)), Judgment::Passed);
        assert_eq!(judged(&[unknown()], Some(Verdict::Shared)), Judgment::Passed);
    }

    #[test]
    fn injected_disagreements_are_found() {
        assert!(is_failed(&judged(&[copied()], Some(Verdict::Shared))));
        assert!(is_failed(&judged(&[moved()], Some(Verdict::Private))));
        let one_byte = leg(99, 1, 0, Some(Reason::KernelCopies));
        assert!(is_failed(&judged(&[one_byte], Some(Verdict::Shared))));
        let one_byte = leg(1, 99, 0, Some(Reason::KernelCopies));
        assert!(is_failed(&judged(&[one_byte], Some(Verdict::Private))));
        assert!(
            is_failed(&judged(&[leg(99, 0, 0, None)], Some(Verdict::Shared))),
            "a byte without account"
        );
        for content in [None, Some(false)] {
            let mut flow = flow(&[moved()], Some(Verdict::Shared));
            flow.content_ok = content;
            assert!(is_failed(&judge(&flow, 100, &[moved()], None)));
        }
    }

    #[test]
    fn missing_oracle_answer_is_inconclusive() {
        let flow = flow(&[moved()], None);
        let judgment = judge(&flow, 100, &[moved()], Some("no sockets"));
        assert_eq!(
            judgment,
            Judgment::Inconclusive("the oracle could not answer here: no sockets".to_owned())
        );
    }

    #[test]
    fn copy_due_to_missing_pipe_is_inconclusive() {
        for reason in [Reason::NoPipe, Reason::Forbidden, Reason::CannotSplice] {
            let judgment = judged(&[leg(60, 40, 0, Some(reason))], Some(Verdict::Shared));
            assert!(matches!(judgment, Judgment::Inconclusive(_)), "{judgment:?}");
        }
    }

    #[test]
    fn legs_combine_to_guaranteed_bounds() {
        let half = leg(50, 50, 0, Some(Reason::KernelCopies));
        let other = leg(50, 50, 0, Some(Reason::PageCacheSink));
        let twice = flow(&[half, other], None);
        assert_eq!(twice.account, Account::new(0, 50, 50));
        assert_eq!(twice.copy_bytes, 100);
        let codes: Vec<_> = twice
            .reasons
            .iter()
            .map(|cause| (cause.code.as_str(), cause.bytes))
            .collect();
        assert_eq!(codes, [("ZC20", 50), ("ZC03", 50), ("ZC91", 50)]);
        let mixed = flow(&[leg(90, 0, 10, Some(Reason::PeerDependent)), moved()], None);
        assert_eq!(mixed.account, Account::new(90, 0, 10));
        assert_eq!(
            flow(&[], None).account,
            Account::new(0, 0, 100),
            "no receipt is no evidence"
        );
    }

    #[test]
    fn accounts_satisfy_the_report_rules() {
        let samples = [
            moved(),
            copied(),
            unknown(),
            leg(20, 30, 50, Some(Reason::KernelCopies)),
            leg(0, 0, 100, None),
        ];
        for first in &samples {
            for second in &samples {
                let mut report = zctrace_report::Report::new(zctrace_report::Tier::L, zctrace_report::Scope::default());
                report.add_flow(flow(&[first.clone(), second.clone()], Some(Verdict::Private)));
                report.finish(10);
                assert_eq!(report.check(), Ok(()), "{first:?} then {second:?}");
            }
        }
    }
}
