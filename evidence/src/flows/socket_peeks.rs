//! Receives with `MSG_PEEK` on UNIX sockets, which are recorded calls. Those on other sockets are
//! I/O counters ([`io_counters`](super::io_counters)).

use std::collections::BTreeMap;

use crate::decode::call::ObservedCall;
use zctrace_report::{Peek, Report};

use super::report_flows::Symbols;

/// Method of a peek at a socket, as reports show it.
pub(super) const METHOD: &str = "recv(2) with MSG_PEEK";
/// Processes that have a row of their own. Further ones share a row.
const MAX_ROWS: usize = 10_000;

/// Peeks by process.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketPeeks {
    rows: BTreeMap<u32, Row>,
    more: Row,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    bytes: u64,
    calls: u64,
    /// Instruction pointer of the caller in the latest call.
    user_ip: u64,
}

impl SocketPeeks {
    /// Counts a call that copied bytes and left them in the socket. They are delivered by the call
    /// that takes them.
    pub(crate) fn add(&mut self, call: &ObservedCall) {
        let row = if self.rows.len() < MAX_ROWS || self.rows.contains_key(&call.tgid) {
            self.rows.entry(call.tgid).or_default()
        } else {
            &mut self.more
        };
        row.bytes = row.bytes.saturating_add(call.bytes);
        row.calls += 1;
        row.user_ip = call.user_ip;
    }

    /// Adds the peeks to a report.
    pub(super) fn fill(&self, report: &mut Report, symbols: &Symbols<'_>) {
        for (tgid, row) in &self.rows {
            let mut peek = row.peek();
            peek.pid = Some(*tgid);
            peek.call_site = symbols(*tgid, row.user_ip);
            report.peeks.push(peek);
        }
        if self.more.calls > 0 {
            report.peeks.push(self.more.peek());
        }
    }
}

impl Row {
    fn peek(&self) -> Peek {
        let mut peek = Peek::new(self.bytes, self.calls);
        METHOD.clone_into(&mut peek.method);
        peek
    }
}
