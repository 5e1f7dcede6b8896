//! The rule that everything that can have reached the judged endpoints is accounted for.
//!
//! A rule about bytes passes by the bytes that were observed. It says something about the program
//! only if no others can have reached its ends: no record was lost, nothing was done that no probe
//! observes, no other process sent, and none goes on to send. Each gap says what the user can do.

use zctrace_contract::Reason;
use zctrace_report::format::count;
use zctrace_report::{Assertion, AssertionOutcome, Flow, NotCovered, Report, StillRunning};

use super::criteria::{Criteria, exact_bytes};
use crate::filter::Match;
use crate::render::{contradictions, still_running_line};

/// Checks that the trace accounts for everything that can have reached the judged endpoints.
pub(super) fn check_complete(report: &Report, criteria: &Criteria) -> Assertion {
    let mut missing = Vec::new();
    missing.extend(contradictions(report));
    missing.extend(lost_records(report));
    if report.overhead.fell_back_to_counters {
        missing.push("tracing fell back to counters; trace fewer processes, or for a shorter time".to_owned());
    }
    missing.extend(unseen_senders(report, criteria));
    let rows = report.coverage.not_covered.iter();
    let open = rows.filter(|row| row.was_done() && row.endpoint.as_ref().is_none_or(|end| criteria.concern(end)));
    missing.extend(open.map(not_covered));
    missing.extend(criteria.files.unseen_writers.iter().cloned());
    missing.extend(still_running(&report.coverage.still_running));
    let (outcome, found) = if missing.is_empty() {
        (AssertionOutcome::Passed, "no records were lost".to_owned())
    } else {
        (AssertionOutcome::Inconclusive, missing.join("; "))
    };
    Assertion::new("tracing was complete", outcome, found)
}

fn lost_records(report: &Report) -> Option<String> {
    let records = match report.loss.records() {
        0 => return None,
        1 => "1 record was lost".to_owned(),
        some => format!("{} records were lost", count(some)),
    };
    Some(format!(
        "{records}; trace fewer processes, or keep the machine less busy"
    ))
}

/// Describes bytes on the judged endpoints that no traced call sent.
fn unseen_senders(report: &Report, criteria: &Criteria) -> Option<String> {
    if criteria.allow.contains(&Reason::UnseenSender) {
        return None;
    }
    let judged = |flow: &&Flow| criteria.matches(flow) != Match::No;
    let causes = report.flows.iter().filter(judged).flat_map(|flow| &flow.reasons);
    let unseen = causes.filter(|cause| cause.code.reason() == Some(Reason::UnseenSender));
    let bytes: u128 = unseen.map(|cause| u128::from(cause.bytes)).sum();
    (bytes > 0).then(|| {
        format!(
            "{} were sent by no observed call ({}); trace every process that has the socket open, and note that calls of \
             32-bit programs are not covered",
            exact_bytes(bytes),
            Reason::UnseenSender.code()
        )
    })
}

fn not_covered(row: &NotCovered) -> String {
    format!("{} occurred, which is not covered here", row.operation)
}

/// Names the processes that outlived the command.
fn still_running(processes: &[StillRunning]) -> Option<String> {
    (!processes.is_empty()).then(|| {
        format!(
            "{}; what was sent afterwards was not observed; let CMD wait for its processes, or give --wait",
            still_running_line(processes)
        )
    })
}
