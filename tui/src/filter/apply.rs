//! Applies a filter to a report: keeps the matching flows, and records the filter in the report.

use std::collections::{HashMap, HashSet};

use zctrace_report::{Account, Report};

use super::{Filter, Match};

impl Filter {
    /// Keeps only the matching flows and everything that belongs to them. Totals and share are
    /// recomputed from those flows, and the report states the filter and how much it excluded. An
    /// empty filter changes nothing.
    ///
    /// Assertions judge all flows, so they are removed. A process counts with the remaining flows.
    pub(crate) fn apply(&self, report: &mut Report) {
        if self.is_empty() {
            return;
        }
        let mut filtered = report.filter.take().unwrap_or_default();
        filtered.expression = match filtered.expression.as_str() {
            "" => self.to_string(),
            before => format!("({before}) and ({self})"),
        };
        report.flows.retain(|flow| {
            let result = self.matches(flow);
            if result == Match::Yes {
                return true;
            }
            filtered.omitted_flows = filtered.omitted_flows.saturating_add(flow.folded);
            filtered.omitted_payload = filtered.omitted_payload.saturating_add(flow.payload);
            if result == Match::Unknown {
                filtered.undecided_flows = filtered.undecided_flows.saturating_add(flow.folded);
                filtered.undecided_payload = filtered.undecided_payload.saturating_add(flow.payload);
            }
            false
        });
        report.filter = Some(filtered);
        let left: HashSet<u64> = report.flows.iter().map(|flow| flow.id).collect();
        let stays = |id: Option<u64>| id.is_some_and(|id| left.contains(&id));
        report.edges.retain(|edge| stays(edge.flow));
        report.peeks.retain(|look| stays(look.flow));
        report.segments.retain(|segment| stays(segment.flow));
        processes(report);
        let pids: HashSet<u32> = report.processes.iter().map(|process| process.pid).collect();
        report.zerocopy_completions.retain(|notice| pids.contains(&notice.pid));
        report.assertions.clear();
        report.summarize();
    }
}

/// Recomputes the processes from the remaining flows.
fn processes(report: &mut Report) {
    #[derive(Default)]
    struct Sum {
        calls: u64,
        account: Account,
        into_memory: u64,
    }
    let mut sums: HashMap<u32, Sum> = HashMap::new();
    for flow in &report.flows {
        let Some(pid) = flow.pid else { continue };
        let sum = sums.entry(pid).or_default();
        sum.calls = sum.calls.saturating_add(flow.calls);
        if flow.ends_in_memory() {
            sum.into_memory = sum.into_memory.saturating_add(flow.payload);
        } else {
            sum.account += &flow.account;
        }
    }
    report.processes.retain_mut(|process| {
        let Some(sum) = sums.remove(&process.pid) else {
            return false;
        };
        process.calls = sum.calls;
        process.into_memory = sum.into_memory;
        process.set_account(sum.account);
        true
    });
}
