//! The certificate of the longest path, in the demo's output, or why there is none.

use zctrace_probes::probe::SetupError;
use zctrace_report::format::{count, printable, size};
use zctrace_report::{Certificate, ProofKind, StationKind};

use super::paths::PathResult;
use super::render::name;
use crate::render;
use crate::render::text::wrap;

/// Writes the certificate of the longest path, or why the kernel was not traced.
pub(super) fn write_longest(text: &mut String, rows: &[PathResult], not_traced: Option<&SetupError>) {
    if let Some(error) = not_traced {
        text.push_str("\nwithout the kernel's evidence\n");
        wrap(text, "  -  ", &printable(&error.to_string()));
        wrap(text, "        hint  ", &printable(&error.hint()));
        return;
    }
    let longest = rows
        .iter()
        .filter_map(|row| Some((row, row.flow.certificate.as_ref()?)))
        .filter(|(_, certificate)| certificate.moved_weakness().is_none())
        .max_by_key(|(_, certificate)| {
            let to_disk = certificate
                .hops
                .iter()
                .any(|hop| hop.station.kind == StationKind::BioVec);
            (certificate.hops.len(), to_disk)
        });
    if let Some((row, certificate)) = longest {
        text.push('\n');
        write_stations(text, row, certificate);
    }
}

fn write_stations(text: &mut String, row: &PathResult, certificate: &Certificate) {
    let same = certificate.hops.iter().all(|hop| match hop.proof {
        ProofKind::Start | ProofKind::Identity => true,
        // The device was given the same page.
        ProofKind::Dma => hop.station.kind == StationKind::BioVec,
        _ => false,
    });
    let verdict = if same { "SAME PAGE AT" } else { "MOVED THROUGH" };
    let pages = certificate.hops.iter().map(|hop| hop.pages).max().unwrap_or(0);
    let head = match certificate.hops.len() {
        2 => format!("{verdict} BOTH STAGES   "),
        many => format!("{verdict} ALL {many} STAGES   "),
    };
    let what = format!(
        "{}, {} page references, {}",
        size(certificate.bytes),
        count(pages),
        name(&row.flow)
    );
    wrap(text, &head, &what);
    for (number, hop) in (1..).zip(&certificate.hops) {
        let line = format!(
            "{}, {} bytes, observed by {}",
            hop.station,
            count(hop.bytes),
            printable(&hop.observed_by)
        );
        wrap(text, &format!("  {number}  "), &line);
        if let Some(names) = &hop.segments {
            wrap(text, "     bufferlist ", &render::segment_names(names, hop.bytes));
        }
    }
    if let Some(example) = certificate.examples.first() {
        let line = format!(
            "page {} (a pseudonym for this run) held the bytes from offset {} at every stage",
            printable(&example.page),
            count(example.offset)
        );
        wrap(text, "     ", &line);
    }
}
