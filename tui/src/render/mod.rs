//! Rendering of reports: one entry point, [`render()`], over one [`Format`]. Everything shown comes
//! from the report alone.

mod caveats;
mod certificate;
mod flow_table;
mod format;
mod junit;
mod notes;
mod reasons;
mod report;
mod segments;
pub(crate) mod text;

#[cfg(test)]
pub(crate) mod fixtures;

use zctrace_report::Report;

pub(crate) use certificate::{certificate, write_certificate};
pub(crate) use flow_table::{main_reason, shorten_endpoint};
pub(crate) use format::{Format, OutputKind, Placement};
pub(crate) use notes::{contradictions, from_memory_line, notes, still_running_line};
pub(crate) use reasons::{peek_line, write_one_reason, write_reasons};
pub(crate) use report::{report_text, scope, scope_line, write_body};
pub(crate) use segments::segment_names;

/// Renders a report in a format.
pub(crate) fn render(report: &Report, format: Format, placement: Placement) -> String {
    render_with(report, format, placement, report_text)
}

/// Renders a report in a format, with `text` as the renderer of [`Format::Text`].
pub(crate) fn render_with(
    report: &Report,
    format: Format,
    placement: Placement,
    text: impl FnOnce(&Report) -> String,
) -> String {
    match (format, placement) {
        (Format::Text, Placement::Only | Placement::Last) => text(report),
        // An empty line separates the reports of a series.
        (Format::Text, Placement::Interim) => text(report) + "\n",
        (Format::Json, Placement::Only) => report.to_json_pretty() + "\n",
        (Format::Json, Placement::Interim | Placement::Last) => report.to_json() + "\n",
        (Format::Junit, _) => junit::junit(report),
    }
}
