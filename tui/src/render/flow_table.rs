//! The table of flows, one row each, with a mark that shows the verdict without color, and the
//! number for `report --flow`.

use std::fmt::Write as _;

use zctrace_report::format::{count, printable, size};
use zctrace_report::{Call, Endpoint, EndpointKind, Flow, Report};

use crate::render::text::{WIDTH, shorten};

/// Maximum number of rows that end in memory. They are not part of the share, and every program
/// reads its libraries.
const MAX_MEMORY_ROWS: usize = 6;

/// Maximum width of the call names.
const CALLS_WIDTH: usize = 15;

/// Writes the table, if there are flows.
pub(super) fn write(text: &mut String, report: &Report) {
    if report.flows.is_empty() {
        return;
    }
    let mut flows: Vec<&Flow> = report.flows.iter().collect();
    flows.sort_by_key(|flow| (flow.ends_in_memory(), std::cmp::Reverse(flow.payload), flow.id));
    let left = flows.iter().filter(|flow| !flow.ends_in_memory()).count();
    let rest = flows.split_off(flows.len().min(left + MAX_MEMORY_ROWS));
    let unknown = flows.iter().any(|flow| flow.account.unknown > 0);
    let rows: Vec<Row> = flows.iter().map(|flow| Row::of(flow, unknown)).collect();
    let head = Row::head(unknown);
    let all = || std::iter::once(&head).chain(&rows);
    let wide = |of: &dyn Fn(&Row) -> usize| all().map(of).max().unwrap_or(0);
    let id = wide(&|row| row.id.chars().count());
    let call = wide(&|row| row.call.chars().count());
    let numbers: Vec<usize> = (0..head.numbers.len())
        .map(|column| wide(&|row| row.numbers[column].chars().count()))
        .collect();
    let reason = wide(&|row| row.reason.chars().count());
    let others: usize = 3 + id + 2 + 2 + call + numbers.iter().map(|wide| wide + 2).sum::<usize>() + 2 + reason;
    let room = WIDTH.saturating_sub(others);
    let whats: Vec<String> = flows.iter().map(|flow| endpoints(flow, room)).collect();
    let what_wide = whats.iter().map(|what| what.chars().count()).max().unwrap_or(0).max(4);

    let line = |text: &mut String, row: &Row, what: &str| {
        let mut line = format!("{}  {:>id$}  {what:<what_wide$}  {:<call$}", row.mark, row.id, row.call);
        for (number, wide) in row.numbers.iter().zip(&numbers) {
            let _ = write!(line, "  {number:>wide$}");
        }
        let _ = write!(line, "  {}", row.reason);
        text.push_str(line.trim_end());
        text.push('\n');
    };
    text.push('\n');
    line(text, &head, "what");
    let mut in_memory = false;
    for ((flow, row), what) in flows.iter().zip(&rows).zip(&whats) {
        if flow.ends_in_memory() && !in_memory {
            in_memory = true;
            text.push_str("   read into the program's own memory, not part of the share:\n");
        }
        line(text, row, what);
        write_sublines(text, report, flow);
    }
    if !rest.is_empty() {
        let bytes = rest.iter().fold(0_u64, |sum, flow| sum.saturating_add(flow.payload));
        let _ = writeln!(
            text,
            "   and {} smaller rows, {} (in the JSON)",
            rest.len(),
            size(bytes)
        );
    }
    text.push_str("   moved = zero-copy, the same page; copied = to another page; unknown = not shown\n");
}

/// Cells of a row, without the endpoints, whose width depends on the other cells.
struct Row {
    mark: char,
    /// Number for `report --flow`.
    id: String,
    call: String,
    numbers: Vec<String>,
    reason: String,
}

impl Row {
    fn head(unknown: bool) -> Self {
        let mut numbers = vec!["bytes", "moved", "copied"];
        if unknown {
            numbers.push("unknown");
        }
        Self {
            mark: ' ',
            id: "flow".to_owned(),
            call: "call".to_owned(),
            numbers: numbers.into_iter().map(str::to_owned).collect(),
            reason: "reason".to_owned(),
        }
    }

    fn of(flow: &Flow, unknown: bool) -> Self {
        let account = &flow.account;
        let mut numbers = vec![size(flow.payload)];
        // If all bytes are unknown, 0 moved and copied would be a claim.
        let nothing_known = account.unknown > 0 && account.unknown == account.delivered();
        numbers.extend([account.moved, account.copied].map(
            |bytes| {
                if nothing_known { "–".to_owned() } else { size(bytes) }
            },
        ));
        if unknown {
            numbers.push(size(account.unknown));
        }
        let calls: Vec<&str> = flow.call_names.iter().map(Call::as_str).collect();
        Self {
            mark: flow.mark(),
            id: flow.id.to_string(),
            call: shorten(&printable(&calls.join("+")), CALLS_WIDTH),
            numbers,
            reason: main_reason(flow),
        }
    }
}

/// Returns the code that explains the most bytes, and the number of other codes.
pub(crate) fn main_reason(flow: &Flow) -> String {
    let mut codes: Vec<(&str, u64)> = Vec::new();
    for cause in &flow.reasons {
        match codes.iter_mut().find(|(code, _)| *code == cause.code.as_str()) {
            Some((_, bytes)) => *bytes = bytes.saturating_add(cause.bytes),
            None => codes.push((cause.code.as_str(), cause.bytes)),
        }
    }
    codes.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
    match codes.as_slice() {
        [] => String::new(),
        [(code, _)] => shorten(&printable(code), 6),
        [(code, _), others @ ..] => format!("{} +{}", shorten(&printable(code), 6), others.len()),
    }
}

/// Formats the two endpoints in at most `room` characters.
fn endpoints(flow: &Flow, room: usize) -> String {
    let folded = match flow.folded {
        1 => String::new(),
        many => format!(" ×{}", count(many)),
    };
    let room = room.saturating_sub(folded.chars().count() + 3);
    let long = |end: &str| end.chars().count();
    let (mut from, mut to) = (flow.from.to_string(), flow.to.to_string());
    if long(&from) + long(&to) > room {
        (from, to) = (short_endpoint(&flow.from), short_endpoint(&flow.to));
    }
    // Each endpoint gets half of the width, plus what the other one leaves.
    let for_from = room.saturating_sub(long(&to)).max(room / 2).min(long(&from));
    let for_to = room.saturating_sub(for_from);
    let (from, to) = (
        shorten_name(&flow.from, &from, for_from),
        shorten_name(&flow.to, &to, for_to),
    );
    format!("{from} → {to}{folded}")
}

/// Formats an endpoint with a shorter word for its kind.
fn short_endpoint(end: &Endpoint) -> String {
    let kind = short_kind(end);
    let rest = end.to_string();
    let rest = rest.strip_prefix(&*printable(end.kind.label())).unwrap_or_default();
    format!("{kind}{rest}")
}

/// Returns the shorter word for the kind of an endpoint.
fn short_kind(end: &Endpoint) -> String {
    match end.kind {
        EndpointKind::Tcp => "TCP".to_owned(),
        EndpointKind::Udp => "UDP".to_owned(),
        EndpointKind::Unix => "UNIX".to_owned(),
        EndpointKind::DirectFile => "direct file".to_owned(),
        _ => printable(end.kind.label()).into_owned(),
    }
}

/// Formats an endpoint in at most `room` characters.
pub(crate) fn shorten_endpoint(end: &Endpoint, room: usize) -> String {
    let shown = end.to_string();
    if shown.chars().count() <= room {
        return shown;
    }
    let brief = short_endpoint(end);
    shorten_name(end, &brief, room)
}

/// Formats an endpoint in at most `room` characters. It keeps its kind, and the end of its name,
/// which identifies it better than the beginning.
fn shorten_name(end: &Endpoint, shown: &str, room: usize) -> String {
    let (kind, long) = (short_kind(end), shown.chars().count());
    let for_name = room.saturating_sub(kind.chars().count() + 2);
    if long <= room || for_name < 4 {
        return shorten(shown, room);
    }
    let tail: String = shown.chars().skip(long - for_name).collect();
    format!("{kind} …{tail}")
}

/// Writes the lines below a row: bytes without payload, and peeks.
fn write_sublines(text: &mut String, report: &Report, flow: &Flow) {
    let neither = &flow.account.excluded;
    let mut parts: Vec<String> = Vec::new();
    for (bytes, word) in [
        (neither.zero, "holes"),
        (neither.cloned, "cloned"),
        (neither.discarded, "discarded"),
    ] {
        if bytes > 0 {
            parts.push(format!("{} {word}", size(bytes)));
        }
    }
    for (word, &bytes) in &neither.other {
        parts.push(format!("{} {}", size(bytes), printable(word)));
    }
    if !parts.is_empty() {
        let line = format!("   └ {}: no payload", parts.join(", "));
        let _ = writeln!(text, "{}", shorten(&line, WIDTH));
    }
    if flow.peeked_bytes > 0 {
        let looks = report.peeks.iter().find(|look| look.flow == Some(flow.id));
        let code = looks.map(|look| format!(", {}", look.code)).unwrap_or_default();
        let line = format!("x  └ peeked on the path: {} copied out{code}", size(flow.peeked_bytes));
        let _ = writeln!(text, "{}", shorten(&line, WIDTH));
    }
}

#[cfg(test)]
mod tests {
    use zctrace_report::Account;

    use super::*;

    #[test]
    fn endpoints_share_the_width_and_keep_their_kinds() {
        let flow = Flow::new(
            Endpoint::new(EndpointKind::File, "/a/very/long/directory/with/a/file.bin"),
            Endpoint::new(EndpointKind::Tcp, "10.0.0.1:80"),
        );
        for room in 20..100 {
            let what = endpoints(&flow, room);
            assert!(what.chars().count() <= room.max(7), "{room}: {what}");
        }
        assert_eq!(
            endpoints(&flow, 70),
            "file /a/very/long/directory/with/a/file.bin → TCP socket 10.0.0.1:80"
        );
        assert_eq!(
            endpoints(&flow, 63),
            "file /a/very/long/directory/with/a/file.bin → TCP 10.0.0.1:80"
        );
        assert_eq!(endpoints(&flow, 42), "file …ry/with/a/file.bin → TCP 10.0.0.1:80");
    }

    #[test]
    fn main_reason_explains_most_bytes() {
        use zctrace_contract::Reason;
        use zctrace_report::Cause;
        let mut flow = Flow::new(
            Endpoint::new(EndpointKind::File, "a"),
            Endpoint::new(EndpointKind::Tcp, "b"),
        );
        flow.set_account(Account::new(0, 10, 0));
        for (reason, bytes) in [
            (Reason::FromMemory, 3),
            (Reason::Misaligned, 4),
            (Reason::FromMemory, 3),
        ] {
            flow.reasons.push(Cause::new(reason, bytes, 1));
        }
        assert_eq!(main_reason(&flow), "ZC14 +1");
    }
}
