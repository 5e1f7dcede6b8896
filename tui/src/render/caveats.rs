//! How far to trust a report: horizons, zero-copy completions, loss, coverage and cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use zctrace_report::format::{count, duration, percent, printable, size};
use zctrace_report::{CompletionSource, FactStatus, Report, ZerocopySummary};

use crate::render::notes;
use crate::render::text::wrap;

/// Maximum number of zero-copy completions shown.
const MAX_COMPLETIONS: usize = 3;
/// Maximum number of processes shown.
const MAX_PROCESSES: usize = 5;

/// Writes all caveats.
pub(super) fn write(text: &mut String, report: &Report) {
    let mut all = String::new();
    write_horizons(&mut all, report);
    write_processes(&mut all, report);
    write_completions(&mut all, report);
    write_loss(&mut all, report);
    for note in notes(report) {
        wrap(&mut all, "note    ", &note);
    }
    write_coverage(&mut all, report);
    write_cost(&mut all, report);
    if !all.is_empty() {
        text.push('\n');
        text.push_str(&all);
    }
}

/// Writes the horizons of the certificates, with the bytes of each.
fn write_horizons(text: &mut String, report: &Report) {
    let mut by_horizon: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for certificate in report.flows.iter().filter_map(|flow| flow.certificate.as_ref()) {
        let bytes = by_horizon
            .entry((certificate.horizon.as_str(), certificate.level.as_str()))
            .or_default();
        *bytes = bytes.saturating_add(certificate.bytes);
    }
    if by_horizon.is_empty() {
        return;
    }
    let mut all: Vec<_> = by_horizon.into_iter().collect();
    all.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
    let parts: Vec<String> = all
        .iter()
        .take(4)
        .map(|((horizon, level), bytes)| {
            format!("{} ({}, level {})", printable(horizon), size(*bytes), printable(level))
        })
        .collect();
    let more = if all.len() > 4 {
        format!(" · {} more", all.len() - 4)
    } else {
        String::new()
    };
    wrap(text, "horizon ", &format!("observed up to {}{more}", parts.join(" · ")));
}

fn write_processes(text: &mut String, report: &Report) {
    let mut all: Vec<_> = report
        .processes
        .iter()
        .filter(|process| process.account.delivered() > 0)
        .collect();
    if all.len() < 2 {
        return;
    }
    all.sort_by_key(|process| std::cmp::Reverse(process.payload));
    let parts: Vec<String> = all
        .iter()
        .take(MAX_PROCESSES)
        .map(|process| {
            let arrived = process.account.delivered();
            let share = percent(process.account.moved, arrived);
            format!(
                "{} ({}) {}, {share} moved",
                printable(&process.name),
                process.pid,
                size(arrived)
            )
        })
        .collect();
    let others = (all.len() as u64 + report.omitted.processes).saturating_sub(MAX_PROCESSES as u64);
    let more = if others > 0 {
        format!(" · {} more", count(others))
    } else {
        String::new()
    };
    wrap(text, "process ", &format!("{}{more}", parts.join(" · ")));
}

/// Writes the kernel's zero-copy completions.
fn write_completions(text: &mut String, report: &Report) {
    for notice in report.zerocopy_completions.iter().take(MAX_COMPLETIONS) {
        wrap(text, "kernel  ", &completion_line(notice));
    }
    let more = (report.zerocopy_completions.len() as u64 + report.omitted.zerocopy_completions)
        .saturating_sub(MAX_COMPLETIONS as u64);
    if more > 0 {
        wrap(
            text,
            "        ",
            &format!("{} more completions (in the JSON)", count(more)),
        );
    }
}

/// Describes a completion: `reports that it copied 20 of 20 sends with MSG_ZEROCOPY by python3
/// (812) to tcp 127.0.0.1:5000`.
fn completion_line(notice: &ZerocopySummary) -> String {
    let what = match &notice.source {
        CompletionSource::IoUring => "of io_uring zero-copy",
        _ => "with MSG_ZEROCOPY",
    };
    let plural = if notice.sends == 1 { "" } else { "s" };
    let mut line = format!(
        "reports that it copied {} of {} send{plural} {what} by {} ({})",
        count(notice.copied_sends),
        count(notice.sends),
        printable(&notice.process),
        notice.pid
    );
    if let Some(to) = &notice.to {
        let _ = write!(line, " to {}", printable(&to.to_string()));
    }
    if notice.unreported_sends > 0 {
        let _ = write!(
            line,
            "; for {} the program requested no completion",
            count(notice.unreported_sends)
        );
    }
    line
}

fn write_loss(text: &mut String, report: &Report) {
    let loss = &report.loss;
    if !loss.any() {
        return;
    }
    let mut line = format!(
        "{} records: {} ring or table full, {} missing from the sequence, {} programs skipped (recursion), {} journal entries \
         overwritten; {} flows are unknown because of it",
        count(loss.records()),
        count(loss.reserve_failures),
        count(loss.sequence_gaps),
        count(loss.recursion_misses),
        count(loss.journal_overruns),
        count(loss.affected_flows),
    );
    for program in &loss.programs {
        let records = program.reserve_failures.max(program.sequence_gaps) + program.recursion_misses;
        let _ = write!(line, "; {} lost {}", printable(&program.program), count(records));
    }
    wrap(text, "LOST    ", &line);
}

/// Writes the verified facts, the missing ones, and activity that is not covered.
fn write_coverage(text: &mut String, report: &Report) {
    let coverage = &report.coverage;
    let (seen, all) = coverage.verified();
    let mut parts = Vec::new();
    if all > 0 {
        parts.push(format!("{seen} of {all} verified"));
    }
    let mut by_state: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for fact in coverage.facts.iter().filter(|fact| fact.status != FactStatus::Verified) {
        let why = if fact.missing_reason.is_empty() {
            fact.status.as_str()
        } else {
            &fact.missing_reason
        };
        let facts = by_state.entry(printable(why).into_owned()).or_default();
        facts.push(printable(&fact.name).into_owned());
    }
    parts.extend(
        by_state
            .iter()
            .map(|(why, facts)| format!("{}: {why}", facts.join(", "))),
    );
    // Gaps of every run, which were not counted, come last and without numbers.
    let mut never = Vec::new();
    for not in &coverage.not_covered {
        let what = printable(&not.operation);
        match (not.calls, not.bytes) {
            (None, None) => never.push(what),
            (Some(calls), None) => parts.push(format!("not covered: {what} ({} calls)", count(calls))),
            (None, Some(bytes)) => parts.push(format!("not covered: {what} ({})", size(bytes))),
            (Some(calls), Some(bytes)) => {
                parts.push(format!(
                    "not covered: {what} ({} in {} calls)",
                    size(bytes),
                    count(calls)
                ));
            }
        }
    }
    if !never.is_empty() {
        parts.push(format!("never covered: {}", never.join("; ")));
    }
    if !parts.is_empty() {
        wrap(text, "checks  ", &parts.join(" · "));
    }
}

fn write_cost(text: &mut String, report: &Report) {
    let cost = &report.overhead;
    let mut parts = Vec::new();
    if let Some(copying) = cost.copying_ns_estimate {
        parts.push(format!("copying ≈ {} CPU (estimate)", duration(copying)));
    }
    let mut own = format!("zctrace {} CPU", duration(cost.own_cpu_ns));
    if let Some(programs) = cost.bpf_programs_ns {
        let _ = write!(own, " + {} in the kernel", duration(programs));
    }
    parts.push(own);
    if let Some(per_call) = cost.per_syscall_ns {
        parts.push(format!("+{per_call:.0} ns per syscall, all processes"));
    }
    if cost.records > 0 {
        parts.push(format!("{} records", count(cost.records)));
    }
    if cost.fell_back_to_counters {
        parts.push("the cap was reached: from then on, bytes were only counted".to_owned());
    }
    if cost.own_cpu_ns > 0 || parts.len() > 1 {
        wrap(text, "cost    ", &parts.join(" · "));
    }
}
