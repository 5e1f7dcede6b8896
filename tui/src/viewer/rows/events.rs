//! Events between two snapshots, as lines of the log.

use std::collections::HashSet;

use zctrace_report::format::{count, printable, size};
use zctrace_report::{Flow, JournalAgreement, Process, Report};

use crate::viewer::state::{Level, Snapshot};

/// Maximum number of events of one kind that are listed individually; beyond it only their number
/// is reported.
const MAX_EVENTS: usize = 8;

/// Returns the events of a snapshot. The first snapshot reports what exists already.
pub(crate) fn events(before: Option<&Snapshot>, now: &Snapshot) -> Vec<(Level, String)> {
    let mut events = Vec::new();
    let report = &*now.report;
    let old = before.map(|before| &*before.report);
    loss(&mut events, old, report);
    processes(&mut events, old, report);
    if let Some(before) = before {
        flows(&mut events, before, now);
    }
    segments(&mut events, old, report);
    events
}

fn loss(events: &mut Vec<(Level, String)>, old: Option<&Report>, now: &Report) {
    let (had, has) = (old.map_or(0, |old| old.loss.records()), now.loss.records());
    if has > had {
        let began = if had == 0 { "first loss: " } else { "further loss: " };
        let text = format!(
            "{began}{} records are missing, {} in total; {} flows are unknown because of it",
            count(has - had),
            count(has),
            count(now.loss.affected_flows)
        );
        events.push((Level::Error, text));
    }
    if now.overhead.fell_back_to_counters && !old.is_some_and(|old| old.overhead.fell_back_to_counters) {
        let text = "the cap was reached: from now on, bytes are only counted, and no move can be shown";
        events.push((Level::Warning, text.to_owned()));
    }
}

fn processes(events: &mut Vec<(Level, String)>, old: Option<&Report>, now: &Report) {
    let known: HashSet<u32> = old
        .iter()
        .flat_map(|old| &old.processes)
        .map(|process| process.pid)
        .collect();
    let new: Vec<&Process> = now
        .processes
        .iter()
        .filter(|process| !known.contains(&process.pid))
        .collect();
    let name = |process: &&Process| match process.name.as_str() {
        "" => format!("pid {} attached", process.pid),
        name => format!("{} (pid {}) attached", printable(name), process.pid),
    };
    push_events(events, Level::Note, &new, "more processes attached", name);
}

fn flows(events: &mut Vec<(Level, String)>, before: &Snapshot, now: &Snapshot) {
    let (mut copied, mut unknown): (Vec<&Flow>, Vec<&Flow>) = (Vec::new(), Vec::new());
    for (index, flow) in now.report.flows.iter().enumerate() {
        let account = &flow.account;
        if account.copied == 0 && account.unknown == 0 {
            continue;
        }
        let key = now.keys.key(index);
        let had = key
            .and_then(|key| before.keys.position(key))
            .and_then(|index| before.report.flows.get(index));
        let Some(had) = had.map(|flow| &flow.account) else {
            continue;
        };
        if had.moved > 0 && had.copied == 0 && account.copied > 0 {
            copied.push(flow);
        } else if had.moved > 0 && had.unknown == 0 && account.unknown > 0 {
            unknown.push(flow);
        }
    }
    let between = |flow: &Flow| format!("{} → {}", flow.from, flow.to);
    push_events(events, Level::Warning, &copied, "more flows started to copy", |flow| {
        let code = flow
            .reasons
            .first()
            .map(|cause| format!(" ({})", cause.code))
            .unwrap_or_default();
        format!(
            "started to copy: {}, {} of {}{code}",
            between(flow),
            size(flow.account.copied),
            size(flow.payload)
        )
    });
    push_events(events, Level::Note, &unknown, "more flows are partly unknown", |flow| {
        format!(
            "partly unknown: {}, {} of {}",
            between(flow),
            size(flow.account.unknown),
            size(flow.payload)
        )
    });
}

fn segments(events: &mut Vec<(Level, String)>, old: Option<&Report>, now: &Report) {
    let wrong = |report: &Report| {
        let wrong = report
            .segments
            .iter()
            .filter(|segment| segment.agreement == JournalAgreement::Disagrees);
        wrong.map(|segment| (segment.pid, segment.id)).collect::<HashSet<_>>()
    };
    let known = old.map(wrong).unwrap_or_default();
    let new: Vec<_> = now
        .segments
        .iter()
        .filter(|segment| {
            segment.agreement == JournalAgreement::Disagrees && !known.contains(&(segment.pid, segment.id))
        })
        .collect();
    push_events(events, Level::Error, &new, "more segments disagree", |segment| {
        format!(
            "journal and kernel disagree on segment {}: {}",
            segment.id,
            printable(&segment.detail)
        )
    });
}

/// Lists the first events, and the number of the others.
fn push_events<T>(events: &mut Vec<(Level, String)>, level: Level, all: &[T], more: &str, text: impl Fn(&T) -> String) {
    events.extend(all.iter().take(MAX_EVENTS).map(|one| (level, text(one))));
    if all.len() > MAX_EVENTS {
        events.push((level, format!("{} {more}", count((all.len() - MAX_EVENTS) as u64))));
    }
}
