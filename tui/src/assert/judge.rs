//! The judgement: a pure function of a report and the terms. What is not shown never makes it pass.

use std::fmt::Write as _;

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;
use zctrace_report::text::count;
use zctrace_report::{Assertion, Flow, Outcome, Report};

use super::baseline::Growth;
use super::terms::{Terms, bytes_of};
use crate::filter::Fit;

/// What became of the bytes that are judged. Sums are wider than their parts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Sums {
    /// Bytes that arrived.
    pub(crate) arrived: u64,
    /// Bytes that neither moved nor were copied: zeros, clones, discards. They did not arrive.
    pub(crate) neither: u64,
    /// Of those that arrived: copied, for a reason that is not allowed.
    pub(crate) copied: u128,
    /// Bytes that were also copied out on the way, by looks that are not allowed.
    pub(crate) looked: u128,
    /// Of those that arrived: unknown, for a reason that is not allowed.
    pub(crate) unknown: u128,
    /// Bytes in rows of folded flows of which it cannot be told whether they are judged; and looks that belong to no flow.
    pub(crate) perhaps: u128,
}

/// The judgement of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Judgement {
    /// What it rests on.
    pub(crate) sums: Sums,
    /// The numbers of the flows that were judged.
    pub(crate) flows: Vec<u64>,
    /// Each rule with what became of it; the first one is what was asked.
    pub(crate) rules: Vec<Assertion>,
}

impl Judgement {
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

/// Judges a report. `growth` is what is copied more than the baseline has, if there is a baseline.
pub(crate) fn judge(report: &Report, terms: &Terms, growth: Option<&[Growth]>) -> Judgement {
    let mut sums = Sums::default();
    let mut flows = Vec::new();
    for flow in &report.flows {
        match terms.fit(&flow.from, &flow.to, flow.folded) {
            Fit::No => {}
            Fit::Perhaps => sums.perhaps += u128::from(flow.account.arrived()) + u128::from(flow.looked),
            Fit::Yes => {
                flows.push(flow.id);
                add(&mut sums, report, flow, &terms.allow);
            }
        }
    }
    // What the program alone says is judged nowhere: the reads that it says it made are in the flows.
    let of_no_flow = report
        .looks
        .iter()
        .filter(|look| look.flow.is_none() && !look.without_pipe);
    let counted = of_no_flow.filter(|look| !allowed(look.code.reason(), &terms.allow));
    sums.perhaps += counted.map(|look| u128::from(look.bytes)).sum::<u128>();

    let mut rules = Vec::new();
    rules.extend(copied(&sums, terms));
    rules.extend(grown(terms, growth));
    rules.extend(unknown(&sums, terms));
    rules.push(arrived(&sums, terms));
    rules.push(seen(report));
    Judgement { sums, flows, rules }
}

fn wide_count(number: u128) -> String {
    count(u64::try_from(number).unwrap_or(u64::MAX))
}

fn allowed(reason: Option<Reason>, allow: &[Reason]) -> bool {
    reason.is_some_and(|reason| allow.contains(&reason))
}

/// Adds a flow. What is allowed is taken off only as far as reasons show that nothing else copied the same bytes.
fn add(sums: &mut Sums, report: &Report, flow: &Flow, allow: &[Reason]) {
    let account = &flow.account;
    sums.arrived = sums.arrived.saturating_add(account.arrived());
    sums.neither = sums.neither.saturating_add(account.neither.total());
    let explained = |class: Class| -> u128 {
        let causes = flow.reasons.iter().filter(|cause| cause.code.class() == Some(class));
        let forgiven = causes.filter(|cause| allowed(cause.code.reason(), allow));
        forgiven.map(|cause| u128::from(cause.bytes)).sum()
    };
    // Reasons count a byte as often as it was copied. So what is left of all copies, after those that are allowed, is at
    // least the number of bytes that something else copied too.
    let copies = u128::from(flow.copy_bytes.max(account.copied));
    let left = copies.saturating_sub(explained(Class::Copy));
    sums.copied += left.min(u128::from(account.copied));
    sums.unknown += u128::from(account.unknown).saturating_sub(explained(Class::Unknown));
    let looks = report.looks.iter().filter(|look| look.flow == Some(flow.id));
    let forgiven = looks.filter(|look| allowed(look.code.reason(), allow));
    let forgiven: u128 = forgiven.map(|look| u128::from(look.bytes)).sum();
    sums.looked += u128::from(flow.looked).saturating_sub(forgiven);
}

fn copied(sums: &Sums, terms: &Terms) -> Option<Assertion> {
    let limit = terms.max_copied?;
    let rule = format!("at most {limit} copied on the way to {}", terms.ends());
    let bytes = sums.copied + sums.looked;
    let mut found = format!("{} of {} were copied", bytes_of(bytes), bytes_of(sums.arrived.into()));
    if sums.looked > 0 {
        let _ = write!(found, ", {} of them by looks on the way", wide_count(sums.looked));
    }
    // What is unknown, and not forgiven by a limit of its own, may have been copied.
    let unknown = if terms.max_unknown.is_some() { 0 } else { sums.unknown };
    let worst = bytes + unknown;
    let outcome = if !limit.allows(bytes, sums.arrived) {
        Outcome::Broken
    } else if limit.allows(worst, sums.arrived) {
        Outcome::Held
    } else {
        let _ = write!(found, ", and {} more may have been", bytes_of(unknown));
        Outcome::Open
    };
    Some(Assertion::new(rule, outcome, found))
}

fn grown(terms: &Terms, growth: Option<&[Growth]>) -> Option<Assertion> {
    let growth = growth?;
    let rule = format!("no more copied than in the baseline on the way to {}", terms.ends());
    let list: Vec<String> = growth.iter().map(ToString::to_string).collect();
    // A limit says what may be copied; beside one the baseline only tells what changed.
    let outcome = if growth.is_empty() || terms.max_copied.is_some() {
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

fn unknown(sums: &Sums, terms: &Terms) -> Option<Assertion> {
    let ends = terms.ends();
    let all = sums.unknown + sums.perhaps;
    let found = format!(
        "of {} of {} it is not known whether they were copied",
        bytes_of(all),
        bytes_of(sums.arrived.into())
    );
    // With a limit on copies alone, unknown bytes were counted there; what perhaps belongs here was not.
    let (limit, bytes) = match (terms.max_unknown, terms.max_copied) {
        (Some(limit), _) => (limit, all),
        (None, Some(_)) => (super::Limit::Bytes(0), sums.perhaps),
        (None, None) => (super::Limit::Bytes(0), all),
    };
    let outcome = if limit.allows(bytes, sums.arrived) {
        Outcome::Held
    } else {
        Outcome::Open
    };
    if outcome == Outcome::Held && terms.max_unknown.is_none() {
        return None;
    }
    let rule = format!("at most {limit} unknown on the way to {ends}");
    Some(Assertion::new(rule, outcome, found))
}

fn arrived(sums: &Sums, terms: &Terms) -> Assertion {
    let (ends, least) = (terms.ends(), terms.min_bytes.max(1));
    let rule = if least == 1 {
        format!("something arrives at {ends}")
    } else {
        format!("at least {} arrive at {ends}", bytes_of(least.into()))
    };
    let enough = sums.arrived >= least;
    let mut found = match sums.arrived {
        0 => format!("nothing arrived at {ends}, so there is nothing to judge"),
        some if enough => format!("{} arrived", bytes_of(some.into())),
        some => format!("only {} arrived at {ends}, too little to judge", bytes_of(some.into())),
    };
    if !enough && sums.neither > 0 {
        let _ = write!(
            found,
            " ({} were zeros, clones or discarded)",
            bytes_of(sums.neither.into())
        );
    }
    let outcome = if enough { Outcome::Held } else { Outcome::Open };
    Assertion::new(rule, outcome, found)
}

/// Whether watching saw all that it must have seen.
fn seen(report: &Report) -> Assertion {
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
#[path = "judge_tests.rs"]
mod tests;
