//! Text output of the doctor.

use std::fmt::Write as _;

use zctrace_report::format::{count, printable, size};
use zctrace_report::{Fact, FactStatus};

use super::cost::{Cost, LoadResult, Measurement};
use super::{Attempt, Findings};
use crate::render::text::{shorten, wrap};

/// Coverage gaps that are shown by default.
const MAX_BLIND_SPOTS: usize = 3;

/// Renders the findings as text.
pub(super) fn doctor_text(findings: &Findings, all: bool) -> String {
    let mut text = String::new();
    verdict(&mut text, findings);
    text.push('\n');
    privileges(&mut text, findings);
    kernel(&mut text, findings);
    settings(&mut text, findings);
    programs(&mut text, findings, all);
    selftest(&mut text, findings);
    cost(&mut text, findings);
    facts(&mut text, findings, all);
    next(&mut text, findings);
    text
}

fn verdict(text: &mut String, findings: &Findings) {
    let problems = findings.problems().len();
    let (can, of) = findings.facts();
    let seen = format!("{can} of {of} checks are possible here (raw-tracepoint mode)");
    let proven = findings.coverage.verified().0;
    let line = match problems {
        0 => format!("READY   {seen}; {proven} are verified by the selftest"),
        // Without the kernel's types the number of observable facts is unknown.
        _ if findings.types.is_err() => format!("NOT READY   {} to fix", things(problems)),
        _ => format!("NOT READY   {} to fix; then {seen}", things(problems)),
    };
    let _ = writeln!(text, "{line}");
}

fn things(n: usize) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} thing{s}")
}

/// Writes a row: mark, area, text.
fn row(text: &mut String, mark: char, part: &str, said: &str) {
    wrap(text, &format!("{mark}  {part:<14} "), &printable(said));
}

/// Writes the problem of an area with its hints. Returns whether there is one.
fn write_problem(text: &mut String, findings: &Findings, what: &str) -> bool {
    let problems = findings.problems();
    let mut found = false;
    for one in problems.iter().filter(|one| one.area == what) {
        found = true;
        row(text, 'x', what, &one.cause);
        for (index, line) in one.hints.iter().enumerate() {
            let first = if index == 0 { "→ " } else { "  " };
            let first = format!("{:18}{first}", "");
            // A command must stay on one line, so that it can be copied.
            if line.starts_with("sudo ") {
                let _ = writeln!(text, "{first}{}", printable(line));
            } else {
                wrap(text, &first, &printable(line));
            }
        }
    }
    found
}

fn privileges(text: &mut String, findings: &Findings) {
    if write_problem(text, findings, "privileges") {
        return;
    }
    let who = match findings.privileges.uid {
        0 => "you are root".to_owned(),
        uid => format!("you are uid {uid} with CAP_BPF and CAP_PERFMON"),
    };
    let can_trace_other_users = if findings.privileges.can_trace_other_users {
        ""
    } else {
        "; without CAP_SYS_PTRACE call sites in other users' programs are not known"
    };
    row(text, '=', "privileges", &format!("{who}{can_trace_other_users}"));
}

fn kernel(text: &mut String, findings: &Findings) {
    if write_problem(text, findings, "kernel") {
        return;
    }
    let Ok(types) = &findings.types else { return };
    let path = types.path.display();
    let all = format!("{}, BTF found ({path})", findings.kernel);
    if types.missing.is_empty() {
        let said = format!("{all}, all {} fields that zctrace needs", types.found);
        row(text, '=', "kernel", &said);
    } else {
        let missing = types.missing.join("; ");
        let said = format!(
            "{all}, {} fields, but not {}: {missing}",
            types.found,
            types.missing.len()
        );
        row(text, '?', "kernel", &said);
    }
}

fn settings(text: &mut String, findings: &Findings) {
    if !write_problem(text, findings, "lockdown") {
        let none = "none (not supported, or not readable)";
        row(text, '=', "lockdown", findings.lockdown.as_deref().unwrap_or(none));
    }
    let of = |setting: &super::Setting| {
        let value = setting.value.as_deref().unwrap_or("-");
        format!("{} {value}", setting.name)
    };
    let all: Vec<String> = findings.settings.iter().map(of).collect();
    row(
        text,
        '=',
        "settings",
        &format!("{} (zctrace uses none of them)", all.join(" · ")),
    );
}

fn programs(text: &mut String, findings: &Findings, all: bool) {
    if write_problem(text, findings, "programs") {
        if let (true, Attempt::Failed(_, _, log)) = (all, &findings.loaded) {
            for line in log.lines() {
                let _ = writeln!(text, "      {}", printable(line));
            }
        }
        return;
    }
    let loaded = match &findings.loaded {
        Attempt::Done(loaded) => loaded,
        Attempt::Skipped(why) => return row(text, '?', "programs", &format!("not tried: {why}")),
        Attempt::Failed(..) => return,
    };
    let LoadResult {
        programs,
        left_out,
        load_time,
        detach_time,
    } = loaded;
    let instructions: u64 = programs
        .iter()
        .filter_map(|program| program.verified_instructions.map(u64::from))
        .sum();
    let verified = match instructions {
        0 => String::new(),
        some => format!(", {} instructions verified", count(some)),
    };
    let mark = if left_out.is_empty() { '=' } else { '?' };
    let said = format!(
        "{} of {} loaded and attached in {}{verified}; detached in {}",
        programs.len(),
        programs.len() + left_out.len(),
        milliseconds(*load_time),
        milliseconds(*detach_time),
    );
    row(text, mark, "programs", &said);
    for (program, why) in left_out {
        wrap(text, &format!("{:18}{program}: ", ""), &printable(why));
    }
    if all {
        for program in programs {
            let verified = program
                .verified_instructions
                .map_or("-".to_owned(), |n| count(u64::from(n)));
            let _ = writeln!(text, "{:18}{:<24}{verified:>9} instructions", "", program.name);
        }
    }
}

fn selftest(text: &mut String, findings: &Findings) {
    if write_problem(text, findings, "selftest") {
        return;
    }
    match &findings.selftest {
        Some(table) => {
            let counts = table.counts();
            let absent = match counts.absent {
                0 => String::new(),
                n => format!(", {n} could not run here"),
            };
            let ago = ago(findings.now_unix_ms.saturating_sub(table.made_unix_ms));
            let said = format!(
                "{ago}: {} of {} trials passed{absent} (in {} ms)",
                counts.passed,
                table.trials.len(),
                table.took_ms
            );
            row(text, if counts.absent == 0 { '=' } else { '?' }, "selftest", &said);
        }
        None => row(
            text,
            '?',
            "selftest",
            "not run yet on this boot, kernel and object; run and assert run it first",
        ),
    }
}

/// Formats a duration in the past.
pub(super) fn ago(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..2 => "just now".to_owned(),
        2..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn cost(text: &mut String, findings: &Findings) {
    let cost = match &findings.cost {
        Attempt::Done(cost) => cost,
        Attempt::Skipped(why) => {
            let said = format!(
                "not measured: {why}. Every system call of every process gets some ten nanoseconds slower, and each traced one \
                 more; with privileges `zctrace doctor` measures both in a second or two"
            );
            return row(text, '?', "cost here", &said);
        }
        Attempt::Failed(..) => return,
    };
    let Cost {
        bare,
        syscall_overhead,
        splice,
        traced,
        reader,
        ring_bytes,
        call_bytes,
    } = *cost;
    let said = format!(
        "{} on every system call of every process (untraced {:.0} ns), and {} on each traced splice of 64 KiB (untraced \
         {}); the reader takes {} for it",
        format_measurement(syscall_overhead),
        bare.ns,
        format_measurement(traced),
        format_ns(splice.ns),
        format_measurement(reader),
    );
    row(text, '=', "cost here", &said);
    let said = format!(
        "{}, for {} such calls ({} each); read every 5 ms at this speed, it suffices for {} per second",
        size(ring_bytes),
        two_digits(cost.capacity_calls()),
        size(call_bytes as u64),
        two_digits(cost.max_calls_per_second()),
    );
    row(text, '=', "ring", &said);
}

/// Rounds a number to two significant digits.
fn two_digits(number: f64) -> String {
    let number = number.max(0.0) as u64;
    let unit = 10_u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(1));
    count(number / unit * unit)
}

fn format_ns(ns: f64) -> String {
    if ns.abs() < 1000.0 {
        format!("{ns:.0} ns")
    } else {
        format!("{:.2} µs", ns / 1000.0)
    }
}

fn format_measurement(measured: Measurement) -> String {
    let Measurement { ns, noise_ns } = measured;
    if ns.abs() < 1000.0 {
        format!("{ns:.0} ± {noise_ns:.0} ns")
    } else {
        format!("{:.2} ± {:.2} µs", ns / 1000.0, noise_ns / 1000.0)
    }
}

fn milliseconds(measured: Measurement) -> String {
    format!("{:.0} ms", measured.ns / 1e6)
}

fn facts(text: &mut String, findings: &Findings, all: bool) {
    let _ = writeln!(text, "\n   {:<35}{:<24}{:<6}verified", "check", "observed by", "tier");
    for fact in &findings.coverage.facts {
        fact_row(text, findings, fact);
    }
    let blind = &findings.coverage.not_covered;
    let shown = if all {
        blind.len()
    } else {
        MAX_BLIND_SPOTS.min(blind.len())
    };
    text.push_str("\n   not covered by any check: reported as unknown or not at all, never as moved\n");
    for what in blind.iter().take(shown) {
        wrap(text, "-  ", &printable(&what.operation));
    }
    if shown < blind.len() {
        let _ = writeln!(text, "   … {} more (zctrace doctor --all)", blind.len() - shown);
    }
}

fn fact_row(text: &mut String, findings: &Findings, fact: &Fact) {
    let (mark, proven) = match (&fact.status, fact.verified_unix_ms) {
        (FactStatus::Verified, Some(when)) => (
            '=',
            format!("selftest, {}", ago(findings.now_unix_ms.saturating_sub(when))),
        ),
        (FactStatus::Verified, None) => ('=', "yes".to_owned()),
        (FactStatus::Silent, _) => ('x', "failed: not used".to_owned()),
        (FactStatus::Unavailable, _) => ('-', "not here".to_owned()),
        _ => ('?', "not yet".to_owned()),
    };
    let _ = writeln!(
        text,
        "{mark}  {:<35}{:<24}{:<6}{proven}",
        shorten(&printable(&fact.name), 33),
        shorten(&printable(&fact.observed_by), 22),
        fact.tier.as_str()
    );
    if !fact.missing_reason.is_empty() {
        wrap(text, "      ", &printable(&fact.missing_reason));
    }
}

fn next(text: &mut String, findings: &Findings) {
    let next = if findings.problems().is_empty() {
        "zctrace demo, then zctrace run -- CMD"
    } else {
        "fix the problems, then run zctrace doctor again; without privileges: zctrace demo"
    };
    let _ = writeln!(text, "\nnext: {next}");
}
