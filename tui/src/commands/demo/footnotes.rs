//! What stands below the demo's table: each reason in words, who looked, and what the reader must know besides.

use std::collections::BTreeSet;

use zctrace_contract::Reason;
use zctrace_report::text::{printable, size};
use zctrace_report::{Flow, Look, ReasonCode};

use super::fixture::Fixture;
use super::paths::PathResult;
use super::render::name;
use crate::commands::explain;
use crate::render::text::wrap;

/// Each reason once, in words, with what to do; and who looked.
pub(super) fn write_reasons(text: &mut String, rows: &[PathResult]) {
    let of_flows = rows.iter().flat_map(|row| &row.flow.reasons).map(|cause| &cause.code);
    let of_looks = rows.iter().flat_map(|row| &row.peeks).map(|look| &look.code);
    let reasons: BTreeSet<Reason> = of_flows.chain(of_looks).filter_map(ReasonCode::reason).collect();
    if reasons.is_empty() {
        return;
    }
    text.push_str("\nwhy, and what to do\n");
    for reason in reasons {
        explain::write_explanation(text, reason);
        if reason == Reason::Peeked {
            for row in rows {
                for look in &row.peeks {
                    write_peek(text, &row.flow, look);
                }
            }
        }
    }
}

fn write_peek(text: &mut String, flow: &Flow, look: &Look) {
    let place = look.place.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let what = format!(
        "{}: {} by `{}` ({}) at {}",
        name(flow),
        size(look.bytes),
        look.operation,
        look.how,
        printable(&place)
    );
    wrap(text, "        who  ", &what);
}

/// What the reader must know besides.
pub(super) fn write_notes(text: &mut String, fixture: &Fixture, rows: &[PathResult], traced: bool) {
    text.push_str("\nnotes\n");
    if rows.iter().any(|row| row.flow.looked > 0) {
        wrap(
            text,
            "  -  ",
            "A look copies what it looks at; the path below which it stands moved its bytes all the same.",
        );
    }
    let content = fixture.payload();
    if content.len() != content.in_blocks() {
        let note = format!(
            "Paths to disk, and lent memory, carry whole blocks: {} bytes instead of {}.",
            content.in_blocks(),
            content.len()
        );
        wrap(text, "  -  ", &note);
    }
    wrap(
        text,
        "  -  ",
        "`disk` is a file open with O_DIRECT, which asks that the device fetch the pages from where they are.",
    );
    for note in rows.iter().filter_map(|row| row.note.as_deref()) {
        wrap(text, "  -  ", note);
    }
    let not_proved = if traced {
        "What this does not prove: that no byte was changed in place on its way (contents are compared at the ends only), and \
         what a disk or a network card does below the last station."
    } else {
        "What this does not prove: receipts and oracle speak of kinds of ends, and one page stands for all. That the very \
         pages of these bytes went from station to station only the kernel can show; that takes tracing, and root."
    };
    wrap(text, "  -  ", not_proved);
}
