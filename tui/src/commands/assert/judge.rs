//! The judgment: a pure function of a report and the criteria. What is not shown never makes it pass.

use std::fmt::Write as _;

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;
use zctrace_report::text::count;
use zctrace_report::{Assertion, Flow, Outcome, Report};

use super::baseline::Regression;
use super::criteria::{Criteria, exact_bytes};
use crate::filter::Match;

/// What became of the bytes that are judged. JudgedBytes are wider than their parts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct JudgedBytes {
    /// Bytes that arrived.
    pub(crate) delivered: u64,
    /// Bytes that neither moved nor were copied: zeros, clones, discards. They did not arrive.
    pub(crate) excluded: u64,
    /// Of those that arrived: copied, for a reason that is not allowed.
    pub(crate) copied: u128,
    /// Bytes that were also copied out on the way, by looks that are not allowed.
    pub(crate) peeked: u128,
    /// Of those that arrived: unknown, for a reason that is not allowed.
    pub(crate) unknown: u128,
    /// Bytes in rows of folded flows of which it cannot be told whether they are judged; and looks that belong to no flow.
    pub(crate) undecided: u128,
}

/// The judgment of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Judgment {
    /// What it rests on.
    pub(crate) bytes_judged: JudgedBytes,
    /// The numbers of the flows that were judged.
    pub(crate) flows: Vec<u64>,
    /// Each rule with what became of it; the first one is what was asked.
    pub(crate) rules: Vec<Assertion>,
}

impl Judgment {
    /// What became of all rules together: one that is broken breaks it, else one that is open leaves it open.
    pub(crate) fn outcome(&self) -> Outcome {
        for outcome in [Outcome::Broken, Outcome::Open] {
            if self.rules.iter().any(|rule| rule.outcome == outcome) {
                return outcome;
            }
        }
        Outcome::Held
    }
}

/// Judges a report. `regressions` is what is copied more than the baseline has, if there is a baseline.
pub(crate) fn judge(report: &Report, criteria: &Criteria, regressions: Option<&[Regression]>) -> Judgment {
    let mut bytes_judged = JudgedBytes::default();
    let mut flows = Vec::new();
    for flow in &report.flows {
        match criteria.matches(&flow.from, &flow.to, flow.folded) {
            Match::No => {}
            Match::Unknown => bytes_judged.undecided += u128::from(flow.account.arrived()) + u128::from(flow.looked),
            Match::Yes => {
                flows.push(flow.id);
                add_flow(&mut bytes_judged, report, flow, &criteria.allow);
            }
        }
    }
    // What the program alone says is judged nowhere: the reads that it says it made are in the flows.
    let of_no_flow = report
        .looks
        .iter()
        .filter(|look| look.flow.is_none() && !look.without_pipe);
    let counted = of_no_flow.filter(|look| !is_allowed(look.code.reason(), &criteria.allow));
    bytes_judged.undecided += counted.map(|look| u128::from(look.bytes)).sum::<u128>();

    let mut rules = Vec::new();
    rules.extend(check_copied(&bytes_judged, criteria));
    rules.extend(check_baseline(criteria, regressions));
    rules.extend(check_unknown(&bytes_judged, criteria));
    rules.push(check_delivered(&bytes_judged, criteria));
    rules.push(check_coverage(report));
    Judgment {
        bytes_judged,
        flows,
        rules,
    }
}

fn wide_count(number: u128) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX))
}

fn is_allowed(reason: Option<Reason>, allow: &[Reason]) -> bool {
    reason.is_some_and(|reason| allow.contains(&reason))
}

/// Adds a flow. What is allowed is taken off only as far as reasons show that nothing else copied the same bytes.
fn add_flow(bytes_judged: &mut JudgedBytes, report: &Report, flow: &Flow, allow: &[Reason]) {
    let account = &flow.account;
    bytes_judged.delivered = bytes_judged.delivered.saturating_add(account.arrived());
    bytes_judged.excluded = bytes_judged.excluded.saturating_add(account.neither.total());
    let explained = |class: Class| -> u128 {
        let causes = flow.reasons.iter().filter(|cause| cause.code.class() == Some(class));
        let forgiven = causes.filter(|cause| is_allowed(cause.code.reason(), allow));
        forgiven.map(|cause| u128::from(cause.bytes)).sum()
    };
    // Reasons count a byte as often as it was copied. So what is left of all copies, after those that are allowed, is at
    // least the number of bytes that something else copied too.
    let copies = u128::from(flow.copy_bytes.max(account.copied));
    let left = copies.saturating_sub(explained(Class::Copy));
    bytes_judged.copied += left.min(u128::from(account.copied));
    bytes_judged.unknown += u128::from(account.unknown).saturating_sub(explained(Class::Unknown));
    let looks = report.looks.iter().filter(|look| look.flow == Some(flow.id));
    let forgiven = looks.filter(|look| is_allowed(look.code.reason(), allow));
    let forgiven: u128 = forgiven.map(|look| u128::from(look.bytes)).sum();
    bytes_judged.peeked += u128::from(flow.looked).saturating_sub(forgiven);
}

fn check_copied(bytes_judged: &JudgedBytes, criteria: &Criteria) -> Option<Assertion> {
    let limit = criteria.max_copied?;
    let rule = format!("at most {limit} copied on the way to {}", criteria.endpoints());
    let bytes = bytes_judged.copied + bytes_judged.peeked;
    let mut found = format!(
        "{} of {} were copied",
        exact_bytes(bytes),
        exact_bytes(bytes_judged.delivered.into())
    );
    if bytes_judged.peeked > 0 {
        let _ = write!(
            found,
            ", {} of them by looks on the way",
            wide_count(bytes_judged.peeked)
        );
    }
    // What is unknown, and not forgiven by a limit of its own, may have been copied.
    let unknown = if criteria.max_unknown.is_some() {
        0
    } else {
        bytes_judged.unknown
    };
    let worst = bytes + unknown;
    let outcome = if !limit.allows(bytes, bytes_judged.delivered) {
        Outcome::Broken
    } else if limit.allows(worst, bytes_judged.delivered) {
        Outcome::Held
    } else {
        let _ = write!(found, ", and {} more may have been", exact_bytes(unknown));
        Outcome::Open
    };
    Some(Assertion::new(rule, outcome, found))
}

fn check_baseline(criteria: &Criteria, regressions: Option<&[Regression]>) -> Option<Assertion> {
    let regressions = regressions?;
    let rule = format!(
        "no more copied than in the baseline on the way to {}",
        criteria.endpoints()
    );
    let list: Vec<String> = regressions.iter().map(ToString::to_string).collect();
    // A limit says what may be copied; beside one the baseline only tells what changed.
    let outcome = if regressions.is_empty() || criteria.max_copied.is_some() {
        Outcome::Held
    } else {
        Outcome::Broken
    };
    let found = if list.is_empty() {
        "nothing is copied that was not copied in the baseline".to_owned()
    } else {
        list.join("; ")
    };
    Some(Assertion::new(rule, outcome, found))
}

fn check_unknown(bytes_judged: &JudgedBytes, criteria: &Criteria) -> Option<Assertion> {
    let ends = criteria.endpoints();
    let all = bytes_judged.unknown + bytes_judged.undecided;
    let found = format!(
        "of {} of {} it is not known whether they were copied",
        exact_bytes(all),
        exact_bytes(bytes_judged.delivered.into())
    );
    // With a limit on copies alone, unknown bytes were counted there; what perhaps belongs here was not.
    let (limit, bytes) = match (criteria.max_unknown, criteria.max_copied) {
        (Some(limit), _) => (limit, all),
        (None, Some(_)) => (super::Limit::Bytes(0), bytes_judged.undecided),
        (None, None) => (super::Limit::Bytes(0), all),
    };
    let outcome = if limit.allows(bytes, bytes_judged.delivered) {
        Outcome::Held
    } else {
        Outcome::Open
    };
    if outcome == Outcome::Held && criteria.max_unknown.is_none() {
        return None;
    }
    let rule = format!("at most {limit} unknown on the way to {ends}");
    Some(Assertion::new(rule, outcome, found))
}

fn check_delivered(bytes_judged: &JudgedBytes, criteria: &Criteria) -> Assertion {
    let (ends, least) = (criteria.endpoints(), criteria.min_bytes.max(1));
    let rule = if least == 1 {
        format!("something arrives at {ends}")
    } else {
        format!("at least {} arrive at {ends}", exact_bytes(least.into()))
    };
    let enough = bytes_judged.delivered >= least;
    let mut found = match bytes_judged.delivered {
        0 => format!("nothing arrived at {ends}, so there is nothing to judge"),
        some if enough => format!("{} arrived", exact_bytes(some.into())),
        some => format!(
            "only {} arrived at {ends}, too little to judge",
            exact_bytes(some.into())
        ),
    };
    if !enough && bytes_judged.excluded > 0 {
        let _ = write!(
            found,
            " ({} were zeros, clones or discarded)",
            exact_bytes(bytes_judged.excluded.into())
        );
    }
    let outcome = if enough { Outcome::Held } else { Outcome::Open };
    Assertion::new(rule, outcome, found)
}

/// Whether watching saw all that it must have seen.
fn check_coverage(report: &Report) -> Assertion {
    let mut missing = Vec::new();
    if report.loss.any() {
        missing.push(match report.loss.records() {
            1 => "1 record was lost".to_owned(),
            some => format!("{} records were lost", count(some)),
        });
    }
    if report.overhead.fell_back {
        missing.push("watching fell back to counters".to_owned());
    }
    for not in &report.coverage.not_observed {
        let done = |number: Option<u64>| number.is_some_and(|number| number > 0);
        if done(not.calls) || done(not.bytes) {
            missing.push(format!("{} was done, which cannot be seen here", not.what));
        }
    }
    let (outcome, found) = if missing.is_empty() {
        (Outcome::Held, "no records were lost".to_owned())
    } else {
        (Outcome::Open, missing.join("; "))
    };
    Assertion::new("nothing was missed while watching", outcome, found)
}

#[cfg(test)]
mod tests;
