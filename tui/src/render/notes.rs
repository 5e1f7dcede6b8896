//! Notes on what a report cannot say: bytes whose way into the program's memory is not followed,
//! processes that outlived the command, and figures that contradict each other.

use zctrace_report::format::{count, printable};
use zctrace_report::{EndpointKind, Report, StillRunning};

/// Maximum number of processes that a note names.
const MAX_PROCESSES: usize = 5;

/// Returns the notes on a report, as sentences, without its contradictions.
pub(crate) fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let still_running = &report.coverage.still_running;
    if !still_running.is_empty() {
        notes.push(format!(
            "{}; what was done afterwards is not in the report",
            still_running_line(still_running)
        ));
    }
    let from_memory = bytes_from_memory(report);
    if from_memory > 0 {
        notes.push(from_memory_line(from_memory));
    }
    notes
}

/// Returns a sentence about the rules that the report breaks, if any.
pub(crate) fn contradictions(report: &Report) -> Option<String> {
    let violations = &report.coverage.violations;
    let first = violations.first()?;
    let more = match violations.len() {
        1 => String::new(),
        number => format!(" and {} more", number - 1),
    };
    Some(format!(
        "inconsistent totals: the report breaks its own rules ({}{more}), so its figures show nothing; this is an error in \
         zctrace, please report it",
        printable(first)
    ))
}

/// Returns how many bytes moved from programs' memory to a file, a socket or a device.
fn bytes_from_memory(report: &Report) -> u64 {
    let flows = report.flows.iter();
    let passed = flows.filter(|flow| flow.from.kind == EndpointKind::Memory && !flow.ends_in_memory());
    passed.fold(0, |sum, flow| sum.saturating_add(flow.account.moved))
}

/// Describes bytes that moved from memory. How they came into the memory is not part of their flow.
pub(crate) fn from_memory_line(bytes: u64) -> String {
    let (amount, verb, them) = match bytes {
        1 => ("1 byte".to_owned(), "was", "it"),
        more => (format!("{} bytes", count(more)), "were", "them"),
    };
    format!("{amount} that moved {verb} in the program's memory before; zctrace does not follow {them} from there")
}

/// Describes the processes that outlived the command: `2 processes were still running when CMD
/// ended: sleep (812), cat (813)`.
pub(crate) fn still_running_line(processes: &[StillRunning]) -> String {
    let name = |process: &StillRunning| match process.name.as_str() {
        "" => format!("pid {}", process.pid),
        name => format!("{} ({})", printable(name), process.pid),
    };
    let mut names: Vec<String> = processes.iter().take(MAX_PROCESSES).map(name).collect();
    let more = processes.len().saturating_sub(MAX_PROCESSES);
    if more > 0 {
        names.push(format!("and {} more", count(more as u64)));
    }
    let verb = if processes.len() == 1 {
        "process was"
    } else {
        "processes were"
    };
    format!(
        "{} {verb} still running when CMD ended: {}",
        count(processes.len() as u64),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::nginx;
    use crate::render::{Format, Placement, render};

    #[test]
    fn notes_are_in_every_format() {
        let mut report = nginx();
        let formats = [Format::Text, Format::Json, Format::Junit];
        let shown = |report: &Report, format| {
            let text = render(report, format, Placement::Only);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        for format in formats {
            let text = shown(&report, format);
            assert!(
                !text.contains("still running") && !text.contains("contradict"),
                "{text}"
            );
        }
        report.coverage.still_running = (1..=7)
            .map(|pid| StillRunning {
                pid,
                name: if pid == 1 { String::new() } else { "sleep".to_owned() },
            })
            .collect();
        report.flows[0].payload += 1;
        assert!(!report.note_violations());
        for format in formats {
            let text = shown(&report, format);
            assert!(text.contains("sleep") && text.contains("flows[0]"), "{text}");
        }
        let text = shown(&report, Format::Text);
        assert!(
            text.contains("pid 1, sleep (2), sleep (3), sleep (4), sleep (5), and 2 more"),
            "{text}"
        );
        assert!(text.starts_with("INCONSISTENT inconsistent totals"), "{text}");
        let xml = shown(&report, Format::Junit);
        assert!(
            xml.contains("<error message=\"inconclusive: inconsistent totals"),
            "{xml}"
        );
    }

    #[test]
    fn bytes_that_moved_from_memory_are_named_and_copies_are_not() {
        let mut report = nginx();
        let flow = &mut report.flows[0];
        (flow.from.kind, flow.path[0]) = (EndpointKind::Memory, EndpointKind::Memory);
        let moved = flow.account.moved;
        assert!(moved > 1);
        let notes = notes(&report);
        assert_eq!(notes, [from_memory_line(moved)]);
        assert!(notes[0].contains("were in the program's memory before"), "{notes:?}");
    }
}
