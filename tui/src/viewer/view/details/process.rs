//! The details of a process.

use std::collections::HashSet;

use zctrace_report::format::{count, printable, size};
use zctrace_report::{Flow, Report};

use super::flow_list;
use crate::render;
use crate::render::text::{TextBuffer, TextSink as _, wrap};

pub(super) fn write(text: &mut TextBuffer, report: &Report, index: usize) -> String {
    let Some(process) = report.processes.get(index) else {
        return String::new();
    };
    let account = &process.account;
    let parent = process
        .parent_pid
        .map(|parent| format!(", parent {parent}"))
        .unwrap_or_default();
    let own = process
        .ns_pid
        .map(|own| format!(", {own} in its own namespace"))
        .unwrap_or_default();
    let alive = if process.alive { "" } else { ", not alive at the end" };
    wrap(
        text,
        "   ",
        &format!("{} (pid {}{own}{parent}){alive}", printable(&process.name), process.pid),
    );
    if let Some(cgroup) = &process.cgroup {
        wrap(text, "   ", &format!("cgroup {}", printable(cgroup)));
    }
    wrap(
        text,
        "   ",
        &format!(
            "sent {}: {} moved, {} copied, {} unknown, {} excluded; read {}; {} calls",
            size(process.payload),
            size(account.moved),
            size(account.copied),
            size(account.unknown),
            size(account.excluded.total()),
            size(process.into_memory),
            count(process.calls)
        ),
    );
    text.push('\n');
    let flows: Vec<&Flow> = report
        .flows
        .iter()
        .filter(|flow| flow.pid == Some(process.pid))
        .collect();
    if flows.is_empty() {
        wrap(
            text,
            "   ",
            "Its flows were folded with those of other processes and cannot be listed.",
        );
    } else {
        flow_list::write(text, "flows", &flows);
        let ids: HashSet<u64> = flows.iter().map(|flow| flow.id).collect();
        render::write_reasons(text, report, |id| ids.contains(&id));
    }
    format!("process {}", process.pid)
}
