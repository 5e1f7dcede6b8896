//! Header, always visible: the share, its bar with numbers, scope, tier, coverage, loss, rate, and
//! the overhead of tracing. With fewer lines the first ones stay; a loss is shown in any case.

use std::borrow::Cow;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;
use zctrace_report::format::{count, duration, headline, printable, size};
use zctrace_report::{Account, Report};

use super::bar;
use super::cell_writer::{CellWriter, Side};
use super::log::clock;
use crate::render;
use crate::viewer::state::{Phase, Snapshot, State};
use crate::viewer::theme::Role;

/// A text with its role.
type Span = (Cow<'static, str>, Role);

/// Maximum width of the bar; a wider one adds no information.
const MAX_BAR_WIDTH: u16 = 80;

pub(super) fn draw(writer: &mut CellWriter<'_>, area: Rect, state: &State) {
    let line = |number: u16| {
        let line = Rect::new(area.x, area.y.saturating_add(number), area.width, 1);
        line.intersection(area)
    };
    let first = badge(writer, line(0), state);
    let first = recording_badge(writer, first, state);
    let Some(snapshot) = &state.snapshot else {
        writer.write(first, "zctrace", Role::Strong);
        return;
    };
    let report = &*snapshot.report;
    // With fewer than three lines, the loss has no line of its own.
    let first = match loss(report) {
        Some(loss) if area.height < 3 => writer.write_spans(first, [loss, ("  ".into(), Role::Plain)]),
        _ => first,
    };
    verdict(writer, first, report);
    account_line(writer, line(1), &report.totals().account);
    coverage_line(writer, line(2), report);
    rate_line(writer, line(3), state, snapshot);
}

/// Draws, at the right of a line, whether the display still changes. Returns the rest of the line.
fn badge(writer: &mut CellWriter<'_>, area: Rect, state: &State) -> Rect {
    let (text, role): (Cow<'_, str>, Role) = match (&state.phase, &state.playback) {
        (Phase::Failed { .. }, _) => (" FAILED ".into(), Role::Alert),
        (_, Some(playback)) => {
            let what = match playback.paused {
                true if playback.position >= playback.length => "END",
                true => "PAUSED",
                false => "REPLAY",
            };
            let (at, of) = (clock(playback.position), clock(playback.length));
            (
                format!(" {what} {at} of {of}, {}x ", playback.speed).into(),
                Role::Active,
            )
        }
        (Phase::Ended(_), _) => (" ENDED ".into(), Role::Active),
        _ if state.paused => (" PAUSED ".into(), Role::Active),
        (Phase::Starting, _) => (" STARTING ".into(), Role::Strong),
        (Phase::Live, _) => (" LIVE ".into(), Role::Strong),
    };
    let wide = (text.width() as u16).min(area.width);
    writer.write_aligned(area, &text, Side::Right, role);
    Rect::new(area.x, area.y, area.width - wide, area.height)
}

/// Draws, at the right of the first line, that the trace is being recorded, or that recording
/// failed.
fn recording_badge(writer: &mut CellWriter<'_>, area: Rect, state: &State) -> Rect {
    let (text, role): (&str, Role) = match &state.recording {
        None => return area,
        Some(recording) if recording.has_failed => (" REC FAILED ", Role::Alert),
        Some(_) if matches!(state.phase, Phase::Ended(_) | Phase::Failed { .. }) => return area,
        Some(_) => (" ● REC", Role::Strong),
    };
    let wide = (text.width() as u16).min(area.width);
    writer.write_aligned(area, text, Side::Right, role);
    Rect::new(area.x, area.y, area.width - wide, area.height)
}

/// Draws the first line of the text report as far as it fits; omitted parts are in the bar's line
/// too.
fn verdict(writer: &mut CellWriter<'_>, area: Rect, report: &Report) {
    let line = headline(report);
    let (verdict, rest) = line.split_once("   ").unwrap_or((&line, ""));
    let left = writer.write_spans(
        area,
        [(Cow::Borrowed(verdict), Role::Strong), ("  ".into(), Role::Plain)],
    );
    let mut shown = String::new();
    let mut parts = rest.split("; ").peekable();
    while let Some(part) = parts.next() {
        let gap = if shown.is_empty() { "" } else { "; " };
        // One column is reserved for the mark, except after the last text.
        let more = usize::from(parts.peek().is_some());
        if shown.width() + gap.len() + part.width() + more > usize::from(left.width) && !shown.is_empty() {
            shown.push_str(writer.glyphs().ellipsis());
            break;
        }
        shown.push_str(gap);
        shown.push_str(part);
    }
    writer.write(left, &shown, Role::Plain);
}

/// Draws the numbers of the four parts, and the bar of delivered bytes.
fn account_line(writer: &mut CellWriter<'_>, area: Rect, account: &Account) {
    let mut numbers: Vec<Span> = Vec::new();
    for (mark, bytes, role) in [
        ("=", account.moved, Role::Moved),
        ("x", account.copied, Role::Copied),
        ("?", account.unknown, Role::Unknown),
        ("-", account.excluded.total(), Role::Excluded),
    ] {
        if bytes > 0 || mark != "-" {
            numbers.push((format!("  {mark} {}", size(bytes)).into(), role));
        }
    }
    let wide: u16 = numbers.iter().map(|(text, _)| text.width() as u16).sum();
    let bar = area.width.saturating_sub(wide + 2).min(MAX_BAR_WIDTH);
    let mut left = area;
    if bar >= 4 {
        left = writer.write(left, "[", Role::Dim);
        if left.width > bar {
            let place = Rect::new(left.x, left.y, bar, left.height);
            if account.delivered() == 0 && account.excluded.total() == 0 {
                writer.write(place, &".".repeat(bar.into()), Role::Dim);
            } else {
                bar::draw(writer, place, account);
            }
            left = Rect::new(left.x + bar, left.y, left.width - bar, left.height);
        }
        left = writer.write(left, "]", Role::Dim);
    }
    writer.write_spans(left, numbers);
}

/// Returns the loss, if there is one.
fn loss(report: &Report) -> Option<Span> {
    let text = match report.loss.records() {
        0 => return None,
        1 => " 1 record LOST ".to_owned(),
        some => format!(" {} records LOST ", count(some)),
    };
    Some((text.into(), Role::Alert))
}

/// Draws how far to trust the report: loss, coverage, tier; and the scope in the remaining space.
fn coverage_line(writer: &mut CellWriter<'_>, area: Rect, report: &Report) {
    let (seen, all) = report.coverage.verified();
    let mut spans: Vec<Span> = vec![loss(report).unwrap_or(("no records lost".into(), Role::Plain))];
    if report.loss.any() {
        let touched = count(report.loss.affected_flows);
        spans.push((format!(" {touched} flows unknown").into(), Role::Warning));
    }
    if report.overhead.fell_back_to_counters {
        spans.extend([(" · ".into(), Role::Plain), (" counters only ".into(), Role::Alert)]);
    }
    if all > 0 {
        let role = if seen < all { Role::Warning } else { Role::Plain };
        spans.push((format!(" · {seen} of {all} checks").into(), role));
    }
    spans.push((format!(" · tier {}", report.tier).into(), Role::Plain));
    spans.push((
        format!(" · {} · ", duration(report.provenance.duration_ns)).into(),
        Role::Plain,
    ));
    let left = writer.write_spans(area, spans);
    writer.write(left, &render::scope(report), Role::Plain);
}

/// Draws bytes per second, and the tracer's own overhead.
fn rate_line(writer: &mut CellWriter<'_>, area: Rect, state: &State, snapshot: &Snapshot) {
    let report = &*snapshot.report;
    let mut spans: Vec<Span> = Vec::new();
    if let Some(recording) = &state.recording {
        let role = if recording.has_failed { Role::Alert } else { Role::Plain };
        spans.push((
            format!("{} {}", name(&recording.name), size(recording.bytes)).into(),
            role,
        ));
        spans.push((" · ".into(), Role::Dim));
    }
    // A finished trace has no rate, and its overhead is the total.
    let ended = matches!(state.phase, Phase::Ended(_) | Phase::Failed { .. });
    let before = state.before.as_ref().filter(|before| before.at < snapshot.at && !ended);
    if let Some(before) = before {
        let (now, had) = (&report.totals().account, &before.report.totals().account);
        let time = snapshot.at.saturating_sub(before.at).as_nanos();
        let rate = |now: u64, had: u64| {
            let rate = u128::from(now.saturating_sub(had)) * 1_000_000_000 / time.max(1);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        let all = rate(now.delivered(), had.delivered());
        spans.push((format!("{}/s", size(all)).into(), Role::Strong));
        for (mark, now, had, role) in [
            ("=", now.moved, had.moved, Role::Moved),
            ("x", now.copied, had.copied, Role::Copied),
            ("?", now.unknown, had.unknown, Role::Unknown),
        ] {
            // Bytes that were in flight at the previous snapshot and are known now count as moved
            // or copied now; only so do the three parts add up.
            let sign = if now < had { "-" } else { "" };
            let rate = rate(now.max(had), now.min(had));
            if rate > 0 {
                spans.push((format!("  {mark} {sign}{}/s", size(rate)).into(), role));
            }
        }
        spans.push((" · ".into(), Role::Dim));
    }
    spans.push((
        format!("zctrace {}", cost(report, before.map(|before| &*before.report))).into(),
        Role::Plain,
    ));
    if let Some(per_call) = report.overhead.per_syscall_ns {
        spans.push((format!(" · +{per_call:.0} ns per syscall").into(), Role::Dim));
    }
    if let Some(copying) = report.overhead.copying_ns_estimate {
        spans.push((
            format!(" · copying ≈ {} CPU (estimate)", duration(copying)).into(),
            Role::Dim,
        ));
    }
    writer.write_spans(area, spans);
}

/// Returns the name of a file, truncated to leave space for the rest.
fn name(name: &str) -> String {
    const LONGEST: usize = 24;
    let name = printable(name);
    let long = name.chars().count();
    match long.checked_sub(LONGEST) {
        Some(1..) => format!("…{}", name.chars().skip(long - LONGEST + 1).collect::<String>()),
        _ => name.into_owned(),
    }
}

/// Returns CPU usage in percent of one CPU: since the previous snapshot, otherwise since tracing
/// began.
fn cost(report: &Report, before: Option<&Report>) -> String {
    let had = before.map_or((0, 0), |before| {
        (before.overhead.own_cpu_ns, before.provenance.duration_ns)
    });
    let cpu = report.overhead.own_cpu_ns.saturating_sub(had.0);
    let time = report.provenance.duration_ns.saturating_sub(had.1);
    if time == 0 {
        return "– % CPU".to_owned();
    }
    let tenths = u128::from(cpu) * 1000 / u128::from(time);
    format!("{}.{} % CPU", tenths / 10, tenths % 10)
}
