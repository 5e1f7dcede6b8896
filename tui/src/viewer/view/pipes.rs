//! Cells of a pipe's row, and the limits on pipes.

use zctrace_report::format::{count, duration, size};
use zctrace_report::{Pipe, Report};

use super::table::Cell;
use crate::viewer::theme::Role;

pub(super) fn cell<'a>(pipe: &'a Pipe, title: &str) -> Cell<'a> {
    match title {
        "pipe" => Cell::Text(pipe.inode.to_string().into(), Role::Plain),
        "process" => Cell::Text(processes(pipe).into(), Role::Plain),
        "slots in use" => Cell::Gauge(pipe.used_slots.into(), pipe.slots.into()),
        "used" => Cell::Text(format!("{} of {}", pipe.used_slots, pipe.slots).into(), Role::Plain),
        "peak" => Cell::Text(pipe.max_used_slots.to_string().into(), Role::Plain),
        "bytes" => pipe
            .bytes
            .map_or(Cell::unknown(), |bytes| Cell::size(bytes, Role::Plain)),
        "calls" => Cell::Text(count(pipe.calls).into(), Role::Plain),
        "resized" => Cell::Text(number(pipe.resizes).into(), Role::Plain),
        "idle" => Cell::Text(idle(pipe).into(), Role::Dim),
        _ => Cell::EMPTY,
    }
}

/// Returns how long it was not used, if it is idle.
fn idle(pipe: &Pipe) -> String {
    if pipe.idle_ns == 0 {
        String::new()
    } else {
        duration(pipe.idle_ns)
    }
}

fn number(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// Returns the names, or else the process IDs, of its users.
pub(super) fn processes(pipe: &Pipe) -> String {
    if pipe.processes.is_empty() {
        let pids: Vec<String> = pipe.pids.iter().map(ToString::to_string).collect();
        pids.join(" ")
    } else {
        pipe.processes.join(" ")
    }
}

/// Returns `?` if its content is unknown, `!` if no slot is free.
pub(super) fn mark(pipe: &Pipe) -> char {
    match pipe.bytes {
        _ if pipe.slots > 0 && pipe.used_slots >= pipe.slots => '!',
        None => '?',
        Some(_) => ' ',
    }
}

/// Returns the known limits, and which are not known.
pub(super) fn limits(report: &Report) -> String {
    let slots: u64 = report.pipes.iter().map(|pipe| u64::from(pipe.slots)).sum();
    let here = format!("the listed pipes have {} slots, one page each", count(slots));
    let Some(limits) = &report.pipe_limits else {
        return format!("{here}; the limits are unknown");
    };
    let pages = |pages: u64, word: &str| match pages {
        0 => format!("no {word} limit"),
        pages => format!("{} pages {word}", count(pages)),
    };
    format!(
        "{here}; per user {}, {}; per pipe {}; other pipes of the user are not listed",
        pages(limits.user_pages_soft, "soft"),
        pages(limits.user_pages_hard, "hard"),
        size(limits.max_size)
    )
}
