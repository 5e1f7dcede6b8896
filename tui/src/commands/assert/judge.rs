//! The judgment, a pure function of a report and the criteria. Bytes without evidence never make it
//! pass.

mod indirect;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;
use zctrace_report::format::count;
use zctrace_report::{Assertion, AssertionOutcome, EndpointKind, Flow, Report};

use self::indirect::{Indirect, indirect};
use super::baseline::Regression;
use super::complete::check_complete;
use super::criteria::{Criteria, exact_bytes};
use crate::filter::Match;
use crate::render::from_memory_line;

/// Beginning of the finding if no byte reached the endpoints.
pub(crate) const NOTHING: &str = "nothing was delivered";

/// Part of the finding if bytes reached only ends that may be the judged ones.
pub(crate) const UNDECIDED_ENDS: &str = "went to ends of which it is not known whether they are";

/// Maximum number of reasons that a finding gives for one figure.
const MAX_REASONS: usize = 3;

/// Totals of the judged bytes, in wider integers than their parts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct JudgedBytes {
    /// Delivered bytes.
    pub(crate) delivered: u64,
    /// Bytes that were neither moved nor copied: holes, reflinks, discarded. They are not
    /// delivered.
    pub(crate) excluded: u64,
    /// Delivered bytes that were copied for a reason that is not allowed.
    pub(crate) copied: u128,
    /// Bytes that were also copied out on the path, by peeks that are not allowed.
    pub(crate) peeked: u128,
    /// Delivered bytes that are unknown for a reason that is not allowed.
    pub(crate) unknown: u128,
    /// Bytes that may or may not be judged: at endpoints whose name is not known, of origins that
    /// are lost, in folded rows with discarded names, and peeks that belong to no flow.
    pub(crate) undecided: u128,
    /// Why the ends of the undecided bytes may be judged ones, as far as there is more to tell.
    pub(crate) why_undecided: Vec<String>,
    /// Bytes of the sources that can have reached the endpoints by way of memory or another end.
    pub(crate) indirect: Indirect,
    /// Bytes that reached judged files by descriptors of a kind that is not judged.
    pub(crate) other_kind: u64,
    /// Bytes that moved from the program's memory to the endpoints. How they came into the memory
    /// is not followed.
    pub(crate) from_memory: u64,
}

/// Judgment of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Judgment {
    /// Totals that the judgment is based on.
    pub(crate) bytes_judged: JudgedBytes,
    /// Numbers of the judged flows.
    pub(crate) flows: Vec<u64>,
    /// Outcome of each rule. The first one is the main criterion.
    pub(crate) rules: Vec<Assertion>,
    /// Why the judgment is inconclusive; `None` if it is not, or if it fails.
    pub(crate) open: Option<String>,
}

impl Judgment {
    /// Returns the outcome of all rules together: broken if any rule is broken, else open if any is
    /// open.
    pub(crate) fn outcome(&self) -> AssertionOutcome {
        for outcome in [AssertionOutcome::Failed, AssertionOutcome::Inconclusive] {
            if self.rules.iter().any(|rule| rule.outcome == outcome) {
                return outcome;
            }
        }
        AssertionOutcome::Passed
    }

    /// Makes the first `about_bytes` rules undecided as far as they depend on what is not known.
    ///
    /// A limit that held for the observed bytes was not shown to hold while any other rule is
    /// undecided. If the report contradicts itself, its figures show nothing, not even a copy.
    fn weaken(&mut self, about_bytes: usize, has_violations: bool) {
        if has_violations {
            for rule in self
                .rules
                .iter_mut()
                .filter(|rule| rule.outcome == AssertionOutcome::Failed)
            {
                rule.outcome = AssertionOutcome::Inconclusive;
                rule.finding.push_str(", by figures that contradict each other");
            }
        }
        if self.outcome() != AssertionOutcome::Inconclusive {
            return;
        }
        let is_open = |rule: &&Assertion| rule.outcome == AssertionOutcome::Inconclusive;
        // With contradicting figures, that is the reason, whatever they say.
        let mut open: Box<dyn Iterator<Item = &Assertion>> = if has_violations {
            Box::new(self.rules.iter().rev())
        } else {
            Box::new(self.rules.iter())
        };
        self.open = open.find(is_open).map(|rule| rule.finding.clone());
        drop(open);
        for rule in self.rules.iter_mut().take(about_bytes) {
            if rule.outcome == AssertionOutcome::Passed {
                rule.outcome = AssertionOutcome::Inconclusive;
                rule.finding.push_str(", as far as was observed");
            }
        }
    }
}

/// Judges a report. `regressions` are the copies beyond the baseline, if there is one.
pub(crate) fn judge(report: &Report, criteria: &Criteria, regressions: Option<&[Regression]>) -> Judgment {
    let mut bytes_judged = JudgedBytes::default();
    let mut flows = Vec::new();
    for flow in &report.flows {
        if flow.from.kind == EndpointKind::Memory && criteria.matches_sink(&flow.to, flow.folded) != Match::No {
            bytes_judged.from_memory = bytes_judged.from_memory.saturating_add(flow.account.moved);
        }
        match criteria.matches(flow) {
            Match::No => {}
            Match::Unknown => add_undecided(&mut bytes_judged, flow, criteria),
            Match::Yes => {
                flows.push(flow.id);
                add_flow(&mut bytes_judged, report, flow, &criteria.allow);
            }
        }
    }
    bytes_judged.indirect = indirect(report, criteria);
    bytes_judged.other_kind = to_other_kind(report, criteria);
    // Peeks that only a program reports are not judged, because their reads are in the flows.
    let of_no_flow = report
        .peeks
        .iter()
        .filter(|look| look.flow.is_none() && !look.without_pipe);
    let counted = of_no_flow.filter(|look| !is_allowed(look.code.reason(), &criteria.allow));
    bytes_judged.undecided += counted.map(|look| u128::from(look.bytes)).sum::<u128>();

    let mut rules = Vec::new();
    rules.extend(check_copied(&bytes_judged, criteria));
    rules.extend(check_baseline(criteria, regressions));
    rules.extend(check_unknown(&bytes_judged, criteria));
    let about_bytes = rules.len();
    rules.push(check_delivered(&bytes_judged, criteria));
    rules.push(check_complete(report, criteria));
    let mut judgment = Judgment {
        bytes_judged,
        flows,
        rules,
        open: None,
    };
    judgment.weaken(about_bytes, !report.coverage.violations.is_empty());
    judgment
}

fn wide_count(number: u128) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX))
}

fn is_allowed(reason: Option<Reason>, allow: &[Reason]) -> bool {
    reason.is_some_and(|reason| allow.contains(&reason))
}

/// Returns the bytes that reached files of the judged endpoints by descriptors that the patterns do
/// not match, because they are for files with `O_DIRECT` only.
fn to_other_kind(report: &Report, criteria: &Criteria) -> u64 {
    let judged: BTreeSet<&str> = report
        .flows
        .iter()
        .filter(|flow| flow.to.kind.is_file() && criteria.matches_sink(&flow.to, flow.folded) == Match::Yes)
        .filter_map(|flow| flow.to.object.as_deref())
        .collect();
    let is_same_file = |flow: &&Flow| flow.to.object.as_deref().is_some_and(|object| judged.contains(object));
    let is_judged = |flow: &Flow| criteria.matches_sink(&flow.to, flow.folded) != Match::No;
    let others = report.flows.iter().filter(is_same_file).filter(|flow| !is_judged(flow));
    others.fold(0, |sum, flow| sum.saturating_add(flow.account.delivered()))
}

/// Adds a flow that may belong to the judged endpoints.
fn add_undecided(bytes_judged: &mut JudgedBytes, flow: &Flow, criteria: &Criteria) {
    let bytes = u128::from(flow.account.delivered()) + u128::from(flow.peeked_bytes);
    bytes_judged.undecided += bytes;
    let whys = [&flow.to, &flow.from].map(|end| criteria.files.why_unknown(end));
    for why in whys.into_iter().flatten().filter(|_| bytes > 0) {
        if bytes_judged.why_undecided.len() < MAX_REASONS
            && !bytes_judged.why_undecided.iter().any(|known| known == why)
        {
            bytes_judged.why_undecided.push(why.to_owned());
        }
    }
}

/// Adds a flow. Allowed reasons are subtracted only as far as they show that nothing else copied
/// the same bytes.
fn add_flow(bytes_judged: &mut JudgedBytes, report: &Report, flow: &Flow, allow: &[Reason]) {
    let account = &flow.account;
    bytes_judged.delivered = bytes_judged.delivered.saturating_add(account.delivered());
    bytes_judged.excluded = bytes_judged.excluded.saturating_add(account.excluded.total());
    let explained = |class: Class| -> u128 {
        let causes = flow.reasons.iter().filter(|cause| cause.code.class() == Some(class));
        let forgiven = causes.filter(|cause| is_allowed(cause.code.reason(), allow));
        forgiven.map(|cause| u128::from(cause.bytes)).sum()
    };
    // Reasons count a byte as often as it was copied. After subtracting the allowed copies, the
    // rest is a lower bound of the bytes that something else copied too.
    let copies = u128::from(flow.copy_bytes.max(account.copied));
    let left = copies.saturating_sub(explained(Class::Copy));
    bytes_judged.copied += left.min(u128::from(account.copied));
    bytes_judged.unknown += u128::from(account.unknown).saturating_sub(explained(Class::Unknown));
    let looks = report.peeks.iter().filter(|look| look.flow == Some(flow.id));
    let forgiven = looks.filter(|look| is_allowed(look.code.reason(), allow));
    let forgiven: u128 = forgiven.map(|look| u128::from(look.bytes)).sum();
    bytes_judged.peeked += u128::from(flow.peeked_bytes).saturating_sub(forgiven);
}

fn check_copied(bytes_judged: &JudgedBytes, criteria: &Criteria) -> Option<Assertion> {
    let limit = criteria.max_copied?;
    let rule = format!("at most {limit} copied on the path to {}", criteria.endpoints());
    let bytes = bytes_judged.copied + bytes_judged.peeked;
    let mut found = format!(
        "{} of {} were copied",
        exact_bytes(bytes),
        exact_bytes(bytes_judged.delivered.into())
    );
    if bytes_judged.peeked > 0 {
        let _ = write!(
            found,
            ", {} of them by peeks on the path",
            wide_count(bytes_judged.peeked)
        );
    }
    if bytes_judged.from_memory > 0 {
        let _ = write!(found, "; {}", from_memory_line(bytes_judged.from_memory));
    }
    // Unknown bytes without a limit of their own may have been copied.
    let unknown = if criteria.max_unknown.is_some() {
        0
    } else {
        bytes_judged.unknown
    };
    let worst = bytes + unknown;
    // Bytes on an indirect path were copied at least when they came into memory or another file.
    let Indirect { into, out, from_memory } = bytes_judged.indirect;
    let worst_with_indirect = worst + u128::from(out);
    let delivered_with_indirect = bytes_judged.delivered.saturating_add(out);
    let outcome = if !limit.allows(bytes, bytes_judged.delivered) {
        AssertionOutcome::Failed
    } else if !limit.allows(worst, bytes_judged.delivered) {
        let _ = write!(found, "; {} more may have been copied", exact_bytes(unknown));
        AssertionOutcome::Inconclusive
    } else if limit.allows(worst_with_indirect, delivered_with_indirect) {
        AssertionOutcome::Passed
    } else {
        AssertionOutcome::Inconclusive
    };
    if out > 0 {
        let _ = write!(
            found,
            "; {} of these sources went into memory or elsewhere, and {} from there to the same endpoints: whether they \
             are the same is not observed (judge without --from, or read the flows)",
            exact_bytes(into.into()),
            exact_bytes(out.into())
        );
    }
    if from_memory > 0 {
        let _ = write!(
            found,
            "; {} from memory are not judged: no call read these sources into it, and a private mapping is not observed",
            exact_bytes(from_memory.into())
        );
    }
    if bytes_judged.other_kind > 0 {
        let _ = write!(
            found,
            "; {} reached the same files by descriptors of another kind, which this rule does not judge (file:PATH \
             judges both)",
            exact_bytes(bytes_judged.other_kind.into())
        );
    }
    Some(Assertion::new(rule, outcome, found))
}

fn check_baseline(criteria: &Criteria, regressions: Option<&[Regression]>) -> Option<Assertion> {
    let regressions = regressions?;
    let rule = format!(
        "no more copied than in the baseline on the path to {}",
        criteria.endpoints()
    );
    let list: Vec<String> = regressions.iter().map(ToString::to_string).collect();
    // Beside a limit, the baseline only shows differences.
    let outcome = if regressions.is_empty() || criteria.max_copied.is_some() {
        AssertionOutcome::Passed
    } else {
        AssertionOutcome::Failed
    };
    let found = if list.is_empty() {
        "no copies beyond the baseline".to_owned()
    } else {
        list.join("; ")
    };
    Some(Assertion::new(rule, outcome, found))
}

fn check_unknown(bytes_judged: &JudgedBytes, criteria: &Criteria) -> Option<Assertion> {
    let ends = criteria.endpoints();
    let all = bytes_judged.unknown + bytes_judged.undecided;
    let mut found = format!(
        "{} of {} may or may not have been copied",
        exact_bytes(bytes_judged.unknown),
        exact_bytes(bytes_judged.delivered.into())
    );
    if bytes_judged.undecided > 0 {
        let _ = write!(
            found,
            "; of {} more it is not known whether they belong to these endpoints",
            exact_bytes(bytes_judged.undecided)
        );
    }
    for why in &bytes_judged.why_undecided {
        let _ = write!(found, "; {why}");
    }
    // With a limit on copies alone, unknown bytes were counted there, and undecided bytes were not.
    let (limit, bytes) = match (criteria.max_unknown, criteria.max_copied) {
        (Some(limit), _) => (limit, all),
        (None, Some(_)) => (super::Limit::Bytes(0), bytes_judged.undecided),
        (None, None) => (super::Limit::Bytes(0), all),
    };
    let outcome = if limit.allows(bytes, bytes_judged.delivered) {
        AssertionOutcome::Passed
    } else {
        AssertionOutcome::Inconclusive
    };
    if outcome == AssertionOutcome::Passed && criteria.max_unknown.is_none() {
        return None;
    }
    let rule = format!("at most {limit} unknown on the path to {ends}");
    Some(Assertion::new(rule, outcome, found))
}

fn check_delivered(bytes_judged: &JudgedBytes, criteria: &Criteria) -> Assertion {
    let (ends, least) = (criteria.endpoints(), criteria.min_bytes.max(1));
    let rule = if least == 1 {
        format!("something is delivered to {ends}")
    } else {
        format!("at least {} delivered to {ends}", exact_bytes(least.into()))
    };
    let enough = bytes_judged.delivered >= least;
    let mut found = match bytes_judged.delivered {
        0 if bytes_judged.undecided > 0 => format!(
            "{} {UNDECIDED_ENDS} {ends}, because their names or addresses are not \
             known, and nothing to others",
            exact_bytes(bytes_judged.undecided)
        ),
        0 => format!("{NOTHING} to {ends}, so there is nothing to judge"),
        some if enough => format!("{} were delivered", exact_bytes(some.into())),
        some => format!(
            "only {} were delivered to {ends}, too little to judge",
            exact_bytes(some.into())
        ),
    };
    if bytes_judged.delivered == 0 {
        found.extend(criteria.pattern_hint());
    }
    if !enough && bytes_judged.excluded > 0 {
        let _ = write!(
            found,
            " ({} were holes, reflinks or discarded)",
            exact_bytes(bytes_judged.excluded.into())
        );
    }
    let outcome = if enough {
        AssertionOutcome::Passed
    } else {
        AssertionOutcome::Inconclusive
    };
    Assertion::new(rule, outcome, found)
}

#[cfg(test)]
mod tests;
