//! The lines below the demo's table: each reason with its hint, the peeks, and notes.

use std::collections::BTreeSet;

use zctrace_contract::Reason;
use zctrace_report::format::{printable, size};
use zctrace_report::{Flow, Peek, ReasonCode};

use super::fixture::Fixture;
use super::paths::PathResult;
use super::render::name;
use crate::commands::explain;
use crate::render::text::wrap;

/// Writes each reason once, with its hint, and the peeks.
pub(super) fn write_reasons(text: &mut String, rows: &[PathResult]) {
    let of_flows = rows.iter().flat_map(|row| &row.flow.reasons).map(|cause| &cause.code);
    let of_looks = rows.iter().flat_map(|row| &row.peeks).map(|look| &look.code);
    let reasons: BTreeSet<Reason> = of_flows.chain(of_looks).filter_map(ReasonCode::reason).collect();
    if reasons.is_empty() {
        return;
    }
    text.push_str("\nreasons and hints\n");
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

fn write_peek(text: &mut String, flow: &Flow, look: &Peek) {
    let place = look
        .call_site
        .as_ref()
        .map_or_else(|| "?".to_owned(), ToString::to_string);
    let what = format!(
        "{}: {} by `{}` ({}) at {}",
        name(flow),
        size(look.bytes),
        look.operation,
        look.method,
        printable(&place)
    );
    wrap(text, "        peek ", &what);
}

/// Writes the notes.
pub(super) fn write_notes(text: &mut String, fixture: &Fixture, rows: &[PathResult], traced: bool) {
    text.push_str("\nnotes\n");
    wrap(text, "  -  ", "moved = zero-copy, the same page.");
    if rows.iter().any(|row| row.flow.peeked_bytes > 0) {
        wrap(
            text,
            "  -  ",
            "A peek copies the bytes it reads; the path above it still moved them.",
        );
    }
    let content = fixture.payload();
    if content.len() != content.in_blocks() {
        let note = format!(
            "Paths to disk, and vmspliced memory, carry whole blocks: {} bytes instead of {}.",
            content.in_blocks(),
            content.len()
        );
        wrap(text, "  -  ", &note);
    }
    wrap(
        text,
        "  -  ",
        "`disk` is a file opened with O_DIRECT, which lets the device read the pages in place.",
    );
    for note in rows.iter().filter_map(|row| row.note.as_deref()) {
        wrap(text, "  -  ", note);
    }
    let not_proved = if traced {
        "Not proved: that no byte was changed in place on its path (contents are compared at the endpoints only), and what a \
         disk or a network card does below the last stage."
    } else {
        "Not proved: receipts and the oracle test kinds of endpoints, with one page for all. That the pages of these bytes \
         went from stage to stage only the kernel can show, which requires tracing, and root."
    };
    wrap(text, "  -  ", not_proved);
}
