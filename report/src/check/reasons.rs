//! Rules about reasons: their codes, and the bytes that they explain.

use std::fmt::Display;

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;

use super::Violations;
use crate::Report;
use crate::cause::{Cause, ReasonCode};
use crate::violation::Rule;

/// Reasons of one flow or edge, and the bytes that they must explain.
struct Reasons<'a> {
    list: &'static str,
    index: usize,
    causes: &'a [Cause],
    copied: u64,
    /// Bytes that copies wrote. A byte of a flow may count several times, a byte of an edge once.
    copies: u64,
    unknown: u64,
}

impl Reasons<'_> {
    fn at(&self) -> impl Display {
        format!("{}[{}]", self.list, self.index)
    }

    fn explained(&self) -> Explained {
        let mut explained = Explained::default();
        for cause in self.causes {
            let bytes = match cause.code.class() {
                Some(Class::Copy) => &mut explained.copies,
                Some(Class::Unknown) => &mut explained.unknowns,
                None => &mut explained.others,
            };
            *bytes += u128::from(cause.bytes);
        }
        explained
    }
}

/// Bytes that reasons explain, by class.
#[derive(Default)]
struct Explained {
    copies: u128,
    unknowns: u128,
    /// Bytes with a reason that this version does not define. Such a reason may explain either
    /// class.
    others: u128,
}

/// Iterates over the reasons of all flows, then of all edges.
fn all_reasons(report: &Report) -> impl Iterator<Item = Reasons<'_>> {
    let flows = report.flows.iter().enumerate().map(|(index, flow)| Reasons {
        list: "flows",
        index,
        causes: &flow.reasons,
        copied: flow.account.copied,
        copies: flow.copy_bytes,
        unknown: flow.account.unknown,
    });
    let edges = report.edges.iter().enumerate().map(|(index, edge)| Reasons {
        list: "edges",
        index,
        causes: &edge.reasons,
        copied: edge.account.copied,
        copies: edge.account.copied,
        unknown: edge.account.unknown,
    });
    flows.chain(edges)
}

pub(super) fn codes(report: &Report, found: &mut Violations) {
    let mut check = |at: &dyn Display, code: &ReasonCode| {
        found.require(code.is_well_formed(), at, || Rule::Code {
            code: code.as_str().to_owned(),
        });
    };
    for reasons in all_reasons(report) {
        for (number, cause) in reasons.causes.iter().enumerate() {
            check(&format_args!("{}.reasons[{number}]", reasons.at()), &cause.code);
        }
    }
    for (index, peek) in report.peeks.iter().enumerate() {
        check(&format_args!("peeks[{index}]"), &peek.code);
    }
}

pub(super) fn exceed(report: &Report, found: &mut Violations) {
    for reasons in all_reasons(report) {
        let explained = reasons.explained();
        let (copies, unknown) = (u128::from(reasons.copies), u128::from(reasons.unknown));
        let all = explained.copies + explained.unknowns + explained.others;
        for (class, explained, bytes) in [
            ("copies", explained.copies, copies),
            ("unknowns", explained.unknowns, unknown),
            ("both", all, copies + unknown),
        ] {
            found.require(explained <= bytes, reasons.at(), || Rule::ReasonsExceed {
                class,
                explained,
                bytes,
            });
        }
    }
}

pub(super) fn unexplained(report: &Report, found: &mut Violations) {
    for reasons in all_reasons(report) {
        let explained = reasons.explained();
        let rest = u128::from(reasons.unknown).saturating_sub(explained.unknowns + explained.others);
        found.require(rest == 0, reasons.at(), || Rule::Unexplained {
            class: "unknown",
            bytes: rest,
        });
        let is_explained = reasons.copied == 0 || explained.copies + explained.others > 0;
        found.require(is_explained, reasons.at(), || Rule::Unexplained {
            class: "copied",
            bytes: u128::from(reasons.copied),
        });
    }
}

pub(super) fn lost_records(report: &Report, found: &mut Violations) {
    let records_lost = report.loss.any();
    for reasons in all_reasons(report) {
        for (number, cause) in reasons.causes.iter().enumerate() {
            let is_loss = cause.code.reason() == Some(Reason::LostRecords) && cause.bytes > 0;
            let at = format!("{}.reasons[{number}]", reasons.at());
            found.require(!is_loss || records_lost, at, || Rule::LossWithoutLoss);
        }
    }
}
