//! Rules about numbers of flows, paths and byte ranges.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::Violations;
use crate::Report;
use crate::peek::ByteRange;
use crate::violation::Rule;

pub(super) fn flow_numbers(report: &Report, found: &mut Violations) {
    let mut ids = BTreeSet::new();
    for (index, flow) in report.flows.iter().enumerate() {
        let at = format!("flows[{index}]");
        let id = flow.id;
        found.require(id > 0 && ids.insert(id), &at, || Rule::FlowNumber {
            problem: format!("flow number {id} is 0 or not unique"),
        });
        found.require(flow.folded > 0, &at, || Rule::FlowNumber {
            problem: "the row stands for no flow".to_owned(),
        });
    }
}

pub(super) fn paths(report: &Report, found: &mut Violations) {
    for (index, flow) in report.flows.iter().enumerate() {
        let ends = (flow.path.first(), flow.path.last());
        let holds = flow.path.is_empty() || ends == (Some(&flow.from.kind), Some(&flow.to.kind));
        found.require(holds, format_args!("flows[{index}]"), || Rule::Path);
    }
}

pub(super) fn flows(report: &Report, found: &mut Violations) {
    let ids: BTreeSet<u64> = report.flows.iter().map(|flow| flow.id).collect();
    let mut check = |at: &dyn Display, id: Option<u64>| {
        let missing = id.filter(|id| !ids.contains(id));
        found.require(missing.is_none(), at, || Rule::NoSuchFlow {
            id: missing.unwrap_or_default(),
        });
    };
    for (index, edge) in report.edges.iter().enumerate() {
        check(&format_args!("edges[{index}]"), edge.flow);
    }
    for (index, peek) in report.peeks.iter().enumerate() {
        check(&format_args!("peeks[{index}]"), peek.flow);
    }
    for (index, segment) in report.segments.iter().enumerate() {
        check(&format_args!("segments[{index}]"), segment.flow);
    }
}

pub(super) fn ranges(report: &Report, found: &mut Violations) {
    let mut check = |at: &dyn Display, range: &ByteRange| {
        let (start, end) = (range.start, range.end);
        found.require(start <= end, at, || Rule::Range { start, end });
    };
    for (index, peek) in report.peeks.iter().enumerate() {
        if let Some(range) = &peek.range {
            check(&format_args!("peeks[{index}]"), range);
        }
    }
    for (index, segment) in report.segments.iter().enumerate() {
        for range in &segment.ranges {
            check(&format_args!("segments[{index}]"), range);
        }
    }
}
