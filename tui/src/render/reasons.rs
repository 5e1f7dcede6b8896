//! Reasons and hints: each reason once, with the bytes it explains, the call sites, and its advice.

use std::collections::BTreeMap;

use zctrace_report::format::{count, printable, size};
use zctrace_report::{Peek, ReasonCode, Report};

use crate::render::text::{TextSink, wrap};

/// Maximum number of call sites shown for a reason.
const MAX_SITES: usize = 4;

/// Totals of a reason.
#[derive(Default)]
struct ReasonTotals {
    bytes: u64,
    calls: u64,
    /// Bytes and calls by call site.
    places: BTreeMap<String, (u64, u64)>,
    /// Peeks at the selected flows.
    peeks: Vec<Peek>,
}

/// Writes the reasons of the selected flows, the one that explains the most bytes first. `selected`
/// tests the number of a flow.
pub(crate) fn write_reasons(text: &mut impl TextSink, report: &Report, selected: impl Fn(u64) -> bool) {
    let codes = collect(report, selected);
    if codes.is_empty() {
        return;
    }
    let mut codes: Vec<(&str, ReasonTotals)> = codes.into_iter().collect();
    codes.sort_by_key(|(code, totals)| (std::cmp::Reverse(totals.bytes), *code));
    text.push_str("\nreasons and hints\n");
    for (code, totals) in &codes {
        write_reason(text, report, code, totals);
    }
}

/// Writes one reason of all flows. Writes nothing if the report does not have it.
pub(crate) fn write_one_reason(text: &mut impl TextSink, report: &Report, code: &str) {
    if let Some(totals) = collect(report, |_| true).get(code) {
        write_reason(text, report, code, totals);
    }
}

fn collect(report: &Report, selected: impl Fn(u64) -> bool) -> BTreeMap<&str, ReasonTotals> {
    let mut codes: BTreeMap<&str, ReasonTotals> = BTreeMap::new();
    for flow in report.flows.iter().filter(|flow| selected(flow.id)) {
        for cause in &flow.reasons {
            let totals = codes.entry(cause.code.as_str()).or_default();
            totals.bytes = totals.bytes.saturating_add(cause.bytes);
            totals.calls = totals.calls.saturating_add(cause.calls);
            if let Some(place) = &cause.call_site {
                let sums = totals.places.entry(place.to_string()).or_default();
                sums.0 = sums.0.saturating_add(cause.bytes);
                sums.1 = sums.1.saturating_add(cause.calls);
            }
        }
    }
    for look in &report.peeks {
        if look.flow.is_none_or(&selected) {
            let totals = codes.entry(look.code.as_str()).or_default();
            totals.bytes = totals.bytes.saturating_add(look.bytes);
            totals.calls = totals.calls.saturating_add(look.calls);
            totals.peeks.push(look.clone());
        }
    }
    codes
}

fn write_reason(text: &mut impl TextSink, report: &Report, code: &str, totals: &ReasonTotals) {
    let how_much = amount(totals.bytes, totals.calls);
    let first = format!("  {:<4}  ", printable(code));
    let meaning = report.explanation(&ReasonCode::new(code));
    let sentence = meaning
        .as_ref()
        .map_or("This version of zctrace does not know the code.", |meaning| {
            &meaning.description
        });
    wrap(text, &first, &format!("{how_much}. {}", printable(sentence)));
    write_sites(text, totals);
    if let Some(meaning) = &meaning {
        wrap(text, "        → ", &printable(&meaning.advice));
    }
}

/// Writes the call sites, the largest first.
fn write_sites(text: &mut impl TextSink, totals: &ReasonTotals) {
    let mut places: Vec<(&String, &(u64, u64))> = totals.places.iter().collect();
    places.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
    for (place, (bytes, calls)) in places.iter().take(MAX_SITES) {
        wrap(text, "        at   ", &format!("{place}: {}", amount(*bytes, *calls)));
    }
    write_more(text, places.len());
    let mut looks: Vec<&Peek> = totals.peeks.iter().collect();
    looks.sort_by_key(|look| std::cmp::Reverse(look.bytes));
    for look in looks.iter().take(MAX_SITES) {
        wrap(text, "        peek ", &peek_line(look));
    }
    write_more(text, looks.len());
}

fn write_more(text: &mut impl TextSink, all: usize) {
    if all > MAX_SITES {
        wrap(
            text,
            "             ",
            &format!("and {} more (in the JSON)", all - MAX_SITES),
        );
    }
}

/// Describes a peek: call site, operation, bytes, segment, method and thread.
pub(crate) fn peek_line(look: &Peek) -> String {
    let mut words = Vec::new();
    if let Some(place) = &look.call_site {
        words.push(place.to_string());
    }
    if !look.operation.is_empty() {
        words.push(format!("`{}`", printable(&look.operation)));
    }
    words.push(amount(look.bytes, look.calls));
    if let (Some(segment), Some(range)) = (look.segment, look.range) {
        words.push(format!("segment {segment}, bytes {}..{}", range.start, range.end));
    }
    if look.without_pipe {
        words.push("without a pipe, as the program reports".to_owned());
    }
    if !look.method.is_empty() {
        words.push(printable(&look.method).into_owned());
    }
    match (look.thread.as_str(), look.pid) {
        ("", None) => {}
        ("", Some(pid)) => words.push(format!("pid {pid}")),
        (thread, None) => words.push(format!("thread {}", printable(thread))),
        (thread, Some(pid)) => words.push(format!("thread {} (pid {pid})", printable(thread))),
    }
    words.join(", ")
}

/// Formats bytes and calls: `64.0 KiB in 3 calls`.
fn amount(bytes: u64, calls: u64) -> String {
    match calls {
        0 => size(bytes),
        1 => format!("{} in 1 call", size(bytes)),
        calls => format!("{} in {} calls", size(bytes), count(calls)),
    }
}
