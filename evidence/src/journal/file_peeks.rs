//! Peeks at parts of files, as programs report them.
//!
//! A peek of a file segment reads the file, and no call on a pipe can be joined with the peek. Only
//! the program's journal shows it, so it is listed as a peek and nothing else.

use std::collections::BTreeMap;

use zctrace_contract::LibraryReason;
use zctrace_contract::journal::Operation;

use super::process_journal::ProcessJournal;
use zctrace_contract::journal::Entry;
use zctrace_report::{self as report, Peek};

/// Rows of one process and account.
const MAX_ROWS: usize = 4096;

/// Key of a row: call site, API call and reason.
type Line = (u8, u8, Option<LibraryReason>);

/// Peeks of one process and account.
#[derive(Debug, Default)]
pub(crate) struct FilePeeks {
    rows: BTreeMap<Line, Row>,
    /// Peeks for which there were too many rows.
    more: u64,
}

#[derive(Debug)]
struct Row {
    first: Entry,
    bytes: u64,
    calls: u64,
    /// Range in the segment, while all peeks are of one segment.
    range: Option<(u64, u64)>,
    is_one_thread: bool,
}

impl FilePeeks {
    /// Records an entry without a pipe.
    pub(crate) fn add(&mut self, entry: &Entry) {
        if !matches!(entry.operation, Operation::Peek | Operation::Materialize) {
            return;
        }
        let doing = entry.api_call.map_or(0, |doing| doing as u8);
        let line = (entry.caller, doing, entry.reason);
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&line) {
            self.more += 1;
            return;
        }
        let end = entry.segment_offset.saturating_add(entry.len);
        let row = self.rows.entry(line).or_insert_with(|| Row {
            first: *entry,
            bytes: 0,
            calls: 0,
            range: Some((entry.segment_offset, end)),
            is_one_thread: true,
        });
        row.bytes = row.bytes.saturating_add(entry.len);
        row.calls += 1;
        row.is_one_thread &= row.first.thread == entry.thread;
        row.range = row
            .range
            .filter(|_| row.first.segment == entry.segment)
            .map(|(from, to)| (from.min(entry.segment_offset), to.max(end)));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds the peeks of process `pid` to a report.
    pub(crate) fn fill(&self, report: &mut report::Report, pid: u32, journal: &ProcessJournal) {
        for row in self.rows.values() {
            let entry = &row.first;
            let mut peek = Peek::new(row.bytes, row.calls);
            peek.without_pipe = true;
            journal.describe_peek(&mut peek, pid, entry, row.is_one_thread);
            if let Some((from, to)) = row.range {
                peek.segment = Some(entry.segment);
                peek.range = Some((from..to).into());
            }
            report.peeks.push(peek);
        }
        report.omitted.peeks += self.more;
    }
}
