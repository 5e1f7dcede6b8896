//! Why, and what to do: each reason once, with how much it explains, where, and its advice.

use std::collections::BTreeMap;

use zctrace_report::text::{count, printable, size};
use zctrace_report::{Look, ReasonCode, Report};

use crate::render::text::{TextSink, wrap};

/// Places that are shown of one reason.
const PLACES: usize = 4;

/// What one code explains.
#[derive(Default)]
struct Explained {
    bytes: u64,
    calls: u64,
    /// Bytes and calls by place.
    places: BTreeMap<String, (u64, u64)>,
    /// Looks at flows that are told.
    looks: Vec<Look>,
}

/// Appends the reasons of the flows that `told` picks, by number, the one that explains most first.
pub(crate) fn why(text: &mut impl TextSink, report: &Report, told: impl Fn(u64) -> bool) {
    let codes = collect(report, told);
    if codes.is_empty() {
        return;
    }
    let mut codes: Vec<(&str, Explained)> = codes.into_iter().collect();
    codes.sort_by_key(|(code, explained)| (std::cmp::Reverse(explained.bytes), *code));
    text.push_str("\nwhy, and what to do\n");
    for (code, explained) in &codes {
        reason(text, report, code, explained);
    }
}

/// Appends one reason of all flows; nothing if the report does not have it.
pub(crate) fn why_one(text: &mut impl TextSink, report: &Report, code: &str) {
    if let Some(explained) = collect(report, |_| true).get(code) {
        reason(text, report, code, explained);
    }
}

fn collect(report: &Report, told: impl Fn(u64) -> bool) -> BTreeMap<&str, Explained> {
    let mut codes: BTreeMap<&str, Explained> = BTreeMap::new();
    for flow in report.flows.iter().filter(|flow| told(flow.id)) {
        for cause in &flow.reasons {
            let explained = codes.entry(cause.code.as_str()).or_default();
            explained.bytes = explained.bytes.saturating_add(cause.bytes);
            explained.calls = explained.calls.saturating_add(cause.calls);
            if let Some(place) = &cause.place {
                let sums = explained.places.entry(place.to_string()).or_default();
                sums.0 = sums.0.saturating_add(cause.bytes);
                sums.1 = sums.1.saturating_add(cause.calls);
            }
        }
    }
    for look in &report.looks {
        if look.flow.is_none_or(&told) {
            let explained = codes.entry(look.code.as_str()).or_default();
            explained.bytes = explained.bytes.saturating_add(look.bytes);
            explained.calls = explained.calls.saturating_add(look.calls);
            explained.looks.push(look.clone());
        }
    }
    codes
}

fn reason(text: &mut impl TextSink, report: &Report, code: &str, explained: &Explained) {
    let how_much = amount(explained.bytes, explained.calls);
    let first = format!("  {:<4}  ", printable(code));
    let meaning = report.explanation(&ReasonCode::new(code));
    let sentence = meaning
        .as_ref()
        .map_or("This zctrace does not know the code.", |meaning| &meaning.sentence);
    wrap(text, &first, &format!("{how_much}. {}", printable(sentence)));
    places(text, explained);
    if let Some(meaning) = &meaning {
        wrap(text, "        → ", &printable(&meaning.advice));
    }
}

/// Where in the program, the largest first.
fn places(text: &mut impl TextSink, explained: &Explained) {
    let mut places: Vec<(&String, &(u64, u64))> = explained.places.iter().collect();
    places.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
    for (place, (bytes, calls)) in places.iter().take(PLACES) {
        wrap(text, "        at   ", &format!("{place}: {}", amount(*bytes, *calls)));
    }
    more(text, places.len());
    let mut looks: Vec<&Look> = explained.looks.iter().collect();
    looks.sort_by_key(|look| std::cmp::Reverse(look.bytes));
    for look in looks.iter().take(PLACES) {
        wrap(text, "        who  ", &who(look));
    }
    more(text, looks.len());
}

fn more(text: &mut impl TextSink, all: usize) {
    if all > PLACES {
        wrap(
            text,
            "             ",
            &format!("and {} more (in the JSON)", all - PLACES),
        );
    }
}

/// Who looked, from where, how.
pub(crate) fn who(look: &Look) -> String {
    let mut words = Vec::new();
    if let Some(place) = &look.place {
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
        words.push("out of no pipe, by the program's own word".to_owned());
    }
    if !look.how.is_empty() {
        words.push(printable(&look.how).into_owned());
    }
    match (look.thread.as_str(), look.pid) {
        ("", None) => {}
        ("", Some(pid)) => words.push(format!("pid {pid}")),
        (thread, None) => words.push(format!("thread {}", printable(thread))),
        (thread, Some(pid)) => words.push(format!("thread {} (pid {pid})", printable(thread))),
    }
    words.join(", ")
}

/// `64.0 KiB in 3 calls`.
fn amount(bytes: u64, calls: u64) -> String {
    match calls {
        0 => size(bytes),
        1 => format!("{} in 1 call", size(bytes)),
        calls => format!("{} in {} calls", size(bytes), count(calls)),
    }
}
