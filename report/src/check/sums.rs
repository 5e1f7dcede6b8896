//! Rules about numbers: accounts, totals, shares, losses and measured times.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::Violations;
use crate::account::Account;
use crate::flow::Flow;
use crate::totals::{Share, Totals};
use crate::violation::Rule;
use crate::{Loss, ProgramLoss, Report};

/// Largest accepted difference between two computations of one fraction. Rounding errors are far
/// smaller, and one byte in a gibibyte is far larger.
const TOLERANCE: f64 = 1e-12;

pub(super) fn conservation(report: &Report, found: &mut Violations) {
    let mut check = |at: &dyn Display, account: &Account, total: u64| {
        let parts = account.sum();
        found.require(parts == u128::from(total), at, || Rule::Conservation { parts, total });
    };
    for (index, flow) in report.flows.iter().enumerate() {
        check(&format_args!("flows[{index}]"), &flow.account, flow.payload);
    }
    for (index, edge) in report.edges.iter().enumerate() {
        check(&format_args!("edges[{index}]"), &edge.account, edge.bytes);
    }
    for (index, process) in report.processes.iter().enumerate() {
        check(&format_args!("processes[{index}]"), &process.account, process.payload);
    }
    for (at, totals) in [("totals", &report.totals), ("into_memory", &report.into_memory)] {
        check(&at, &totals.account, totals.payload);
    }
}

pub(super) fn copy_bytes(report: &Report, found: &mut Violations) {
    for (index, flow) in report.flows.iter().enumerate() {
        let (copied, copy_bytes) = (flow.account.copied, flow.copy_bytes);
        let holds = copy_bytes >= copied && (copied > 0 || copy_bytes == 0);
        found.require(holds, format_args!("flows[{index}]"), || Rule::CopyBytes {
            copied,
            copy_bytes,
        });
    }
}

pub(super) fn copies_per_byte(report: &Report, found: &mut Violations) {
    for (index, flow) in report.flows.iter().enumerate() {
        let (stated, computed) = (flow.copies_per_byte, flow.computed_copies_per_byte());
        let holds = match (stated, computed) {
            (Some(stated), Some(computed)) => (stated - computed).abs() <= TOLERANCE * computed.max(1.0),
            (stated, computed) => stated.is_none() && computed.is_none(),
        };
        found.require(holds, format_args!("flows[{index}]"), || Rule::CopiesPerByte {
            computed,
            stated,
        });
    }
}

pub(super) fn totals(report: &Report, found: &mut Violations) {
    for (at, stated, in_memory) in [
        ("totals", &report.totals, false),
        ("into_memory", &report.into_memory, true),
    ] {
        let flows: Vec<&Flow> = report
            .flows
            .iter()
            .filter(|flow| flow.ends_in_memory() == in_memory)
            .collect();
        totals_of(at, stated, &flows, found);
    }
}

fn totals_of(at: &str, stated: &Totals, flows: &[&Flow], found: &mut Violations) {
    let mut member = |name: &str, stated: u64, of: &dyn Fn(&Flow) -> u64| {
        let sum = sum(flows.iter().map(|flow| of(flow)));
        found.require(sum == u128::from(stated), at, || Rule::Totals {
            member: name.to_owned(),
            flows: sum,
            stated,
        });
    };
    let account = &stated.account;
    let excluded = &account.excluded;
    member("moved", account.moved, &|flow| flow.account.moved);
    member("copied", account.copied, &|flow| flow.account.copied);
    member("unknown", account.unknown, &|flow| flow.account.unknown);
    member("excluded.zero", excluded.zero, &|flow| flow.account.excluded.zero);
    member("excluded.cloned", excluded.cloned, &|flow| flow.account.excluded.cloned);
    member("excluded.discarded", excluded.discarded, &|flow| {
        flow.account.excluded.discarded
    });
    let mut causes: BTreeSet<&String> = excluded.other.keys().collect();
    causes.extend(flows.iter().flat_map(|flow| flow.account.excluded.other.keys()));
    for cause in causes {
        let of = |account: &Account| account.excluded.other.get(cause).copied().unwrap_or(0);
        member(&format!("excluded.{cause}"), of(account), &|flow| of(&flow.account));
    }
    member("payload", stated.payload, &|flow| flow.payload);
}

pub(super) fn share(report: &Report, found: &mut Violations) {
    let problem = match (report.share, report.totals.share()) {
        (None, None) => return,
        (Some(_), None) => "it is present, although no payload was delivered".to_owned(),
        (None, Some(_)) => "it is missing, although payload was delivered".to_owned(),
        (Some(stated), Some(computed)) if is_same_share(stated, computed) => return,
        (Some(stated), Some(computed)) => format!("it is {stated:?}, not {computed:?}"),
    };
    found.require(false, "share", || Rule::Share { problem });
}

fn is_same_share(stated: Share, computed: Share) -> bool {
    // A comparison with NaN is false, so a share that is not a number equals nothing. The shares 1
    // and 0 must be exact.
    let is_same = |stated: f64, computed: f64| {
        (stated - computed).abs() <= TOLERANCE
            && ((stated >= 1.0) == (computed >= 1.0))
            && ((stated > 0.0) == (computed > 0.0))
    };
    is_same(stated.moved, computed.moved)
        && is_same(stated.copied, computed.copied)
        && is_same(stated.unknown, computed.unknown)
}

pub(super) fn losses(report: &Report, found: &mut Violations) {
    type Counter = (&'static str, fn(&Loss) -> u64, fn(&ProgramLoss) -> u64);
    const COUNTERS: [Counter; 3] = [
        (
            "reserve_failures",
            |loss| loss.reserve_failures,
            |of| of.reserve_failures,
        ),
        ("sequence_gaps", |loss| loss.sequence_gaps, |of| of.sequence_gaps),
        (
            "recursion_misses",
            |loss| loss.recursion_misses,
            |of| of.recursion_misses,
        ),
    ];
    let loss = &report.loss;
    // A report may omit the list of programs. If the list is present, it is complete.
    if loss.programs.is_empty() {
        return;
    }
    for (counter, total, of_program) in COUNTERS {
        let (stated, programs) = (total(loss), sum(loss.programs.iter().map(of_program)));
        found.require(programs == u128::from(stated), "loss", || Rule::LossSums {
            counter,
            programs,
            stated,
        });
    }
}

pub(super) fn overhead(report: &Report, found: &mut Violations) {
    let cost = &report.overhead;
    let is_time = cost.per_syscall_ns.is_none_or(|ns| ns.is_finite() && ns >= 0.0);
    found.require(is_time, "overhead.per_syscall_ns", || Rule::Measure {
        problem: format!("{:?} is not a time", cost.per_syscall_ns),
    });
    let (reader, own) = (cost.reader_cpu_ns, cost.own_cpu_ns);
    found.require(reader <= own, "overhead.reader_cpu_ns", || Rule::Measure {
        problem: format!("{reader} ns is more than the CPU time of zctrace, {own} ns"),
    });
}

fn sum(numbers: impl Iterator<Item = u64>) -> u128 {
    numbers.map(u128::from).sum()
}
