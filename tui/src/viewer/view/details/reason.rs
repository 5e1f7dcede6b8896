//! The details of a reason.

use zctrace_report::Flow;
use zctrace_report::format::printable;

use super::super::reasons;
use super::flow_list;
use crate::render;
use crate::render::text::{TextBuffer, TextSink as _, wrap};
use crate::viewer::rows;
use crate::viewer::state::{Detail, Snapshot};

pub(super) fn write(text: &mut TextBuffer, snapshot: &Snapshot, detail: &Detail) -> String {
    let report = &*snapshot.report;
    let Some(code) = rows::code_of(snapshot, detail.key) else {
        return String::new();
    };
    render::write_one_reason(text, report, &code);
    text.push('\n');
    wrap(text, "   ", &reasons::basis(report));
    text.push('\n');
    let has = |flow: &&Flow| flow.reasons.iter().any(|cause| cause.code.as_str() == code);
    let flows: Vec<&Flow> = report.flows.iter().filter(has).collect();
    if !flows.is_empty() {
        flow_list::write(text, "flows with this reason", &flows);
    }
    printable(&code).into_owned()
}
