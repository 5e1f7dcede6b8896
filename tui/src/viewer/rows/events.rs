//! What happened between two snapshots, in words for the log.

use std::collections::HashSet;

use zctrace_report::text::{count, printable, size};
use zctrace_report::{Flow, LedgerWord, Process, Report};

use crate::viewer::state::{Level, Snapshot};

/// Events of one kind that are told one by one; of more only the number is told.
const MOST: usize = 8;

/// What is new in a snapshot. The first one begins with what is there already.
pub(crate) fn events(before: Option<&Snapshot>, now: &Snapshot) -> Vec<(Level, String)> {
    let mut told = Vec::new();
    let report = &*now.report;
    let old = before.map(|before| &*before.report);
    loss(&mut told, old, report);
    processes(&mut told, old, report);
    if let Some(before) = before {
        flows(&mut told, before, now);
    }
    segments(&mut told, old, report);
    told
}

fn loss(told: &mut Vec<(Level, String)>, old: Option<&Report>, now: &Report) {
    let (had, has) = (old.map_or(0, |old| old.loss.records()), now.loss.records());
    if has > had {
        let began = if had == 0 { "loss began: " } else { "more was lost: " };
        let text = format!(
            "{began}{} records are missing, {} in all; {} flows are unknown for it",
            count(has - had),
            count(has),
            count(now.loss.flows_touched)
        );
        told.push((Level::Error, text));
    }
    if now.overhead.fell_back && !old.is_some_and(|old| old.overhead.fell_back) {
        let text = "the cap was reached: from now on bytes are only counted, and nothing can be shown to have moved";
        told.push((Level::Warning, text.to_owned()));
    }
}

fn processes(told: &mut Vec<(Level, String)>, old: Option<&Report>, now: &Report) {
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
        "" => format!("pid {} joined", process.pid),
        name => format!("{} (pid {}) joined", printable(name), process.pid),
    };
    tell(told, Level::Note, &new, "more processes joined", name);
}

fn flows(told: &mut Vec<(Level, String)>, before: &Snapshot, now: &Snapshot) {
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
    tell(told, Level::Warning, &copied, "more flows turned copied", |flow| {
        let code = flow
            .reasons
            .first()
            .map(|cause| format!(" ({})", cause.code))
            .unwrap_or_default();
        format!(
            "turned copied: {}, {} of {}{code}",
            between(flow),
            size(flow.account.copied),
            size(flow.payload)
        )
    });
    tell(told, Level::Note, &unknown, "more flows are unknown in part", |flow| {
        format!(
            "unknown in part: {}, {} of {}",
            between(flow),
            size(flow.account.unknown),
            size(flow.payload)
        )
    });
}

fn segments(told: &mut Vec<(Level, String)>, old: Option<&Report>, now: &Report) {
    let wrong = |report: &Report| {
        let wrong = report
            .segments
            .iter()
            .filter(|segment| segment.agreement == LedgerWord::Disagrees);
        wrong.map(|segment| (segment.pid, segment.id)).collect::<HashSet<_>>()
    };
    let known = old.map(wrong).unwrap_or_default();
    let new: Vec<_> = now
        .segments
        .iter()
        .filter(|segment| segment.agreement == LedgerWord::Disagrees && !known.contains(&(segment.pid, segment.id)))
        .collect();
    tell(told, Level::Error, &new, "more segments disagree", |segment| {
        format!(
            "the accounts of segment {} disagree: {}",
            segment.id,
            printable(&segment.why)
        )
    });
}

/// Tells the first ones, and how many more there are.
fn tell<T>(told: &mut Vec<(Level, String)>, level: Level, all: &[T], more: &str, text: impl Fn(&T) -> String) {
    told.extend(all.iter().take(MOST).map(|one| (level, text(one))));
    if all.len() > MOST {
        told.push((level, format!("{} {more}", count((all.len() - MOST) as u64))));
    }
}
