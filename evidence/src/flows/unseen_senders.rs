//! Bytes of a TCP connection that no traced call sent.
//!
//! The packets of a traced socket carry every byte that it sends. What they carried beyond the
//! results of all traced calls was sent by a process that is not traced and has the same socket, or
//! by a call that is not covered. The engine cannot know what such a sender did, so the bytes are
//! unknown.

use std::collections::HashMap;

use zctrace_contract::Reason;
use zctrace_records::{IoCounterKey, IoCounters};
use zctrace_report::{Account, Cause, Endpoint, EndpointKind, Flow, Report};

use super::io_counters::{counts_messages, is_read};
use crate::collections::fast_map::FastMap;
use crate::decode::endpoints::{EndpointId, Endpoints};
use crate::mirror::sockets::Sockets;

/// Sums of an endpoint's connections.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Bytes that packets carried.
    carried: u64,
    /// Bytes that recorded calls sent.
    sent_by_calls: u64,
}

/// Sums of all connections, by the endpoint of the sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnseenSenders {
    closed: FastMap<EndpointId, Sums>,
    /// Sums of connections that were open when the account began, to be subtracted.
    at_start: FastMap<EndpointId, (u64, u64)>,
}

impl UnseenSenders {
    /// Adds a connection that has ended.
    pub(crate) fn closed(&mut self, id: EndpointId, sums: Option<(u64, u64)>) {
        if let Some((carried, sent)) = sums {
            let row = self.closed.entry(id).or_default();
            row.carried = row.carried.saturating_add(carried);
            row.sent_by_calls = row.sent_by_calls.saturating_add(sent);
        }
    }

    /// Starts a new account.
    pub(crate) fn reset(&mut self, sockets: &Sockets, endpoints: &Endpoints) {
        self.closed.clear();
        self.at_start.clear();
        for (sock, carried, sent) in sockets.carried() {
            if let Some(id) = endpoints.socket(sock) {
                let row = self.at_start.entry(id).or_default();
                *row = (row.0.saturating_add(carried), row.1.saturating_add(sent));
            }
        }
    }

    /// Adds a flow for each endpoint to which more bytes were sent than traced calls did.
    pub(crate) fn fill(
        &self,
        report: &mut Report,
        sockets: &Sockets,
        endpoints: &Endpoints,
        counters: &HashMap<IoCounterKey, IoCounters>,
    ) {
        let mut all = self.closed.clone();
        for (sock, carried, sent) in sockets.carried() {
            if let Some(id) = endpoints.socket(sock) {
                let row = all.entry(id).or_default();
                row.carried = row.carried.saturating_add(carried);
                row.sent_by_calls = row.sent_by_calls.saturating_add(sent);
            }
        }
        let mut counted: HashMap<(u64, u32, u16), Option<u64>> = HashMap::new();
        for (key, row) in counters.iter().filter(|(key, _)| !is_read(key.nr)) {
            let sum = counted.entry((key.ino, key.dev, key.kind)).or_insert(Some(0));
            // The bytes of such calls are not known, so nothing follows from the difference.
            *sum = sum
                .filter(|_| !counts_messages(key))
                .map(|sum| sum.saturating_add(row.bytes));
        }
        let mut rows: Vec<_> = all.into_iter().collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        for (id, sums) in rows {
            let (carried_before, sent_before) = self.at_start.get(&id).copied().unwrap_or_default();
            let Some(plain) = counted.get(&endpoints.inode_of(id)).copied().unwrap_or(Some(0)) else {
                continue;
            };
            let carried = sums.carried.saturating_sub(carried_before);
            let sent = sums.sent_by_calls.saturating_sub(sent_before).saturating_add(plain);
            let unseen = carried.saturating_sub(sent);
            if unseen > 0 {
                report.append_flow(flow(endpoints.report(id), unseen));
            }
        }
    }
}

fn flow(to: Endpoint, bytes: u64) -> Flow {
    let mut flow = Flow::new(Endpoint::new(EndpointKind::Memory, "unseen sender"), to);
    flow.set_account(Account {
        unknown: bytes,
        ..Account::default()
    });
    flow.reasons = vec![Cause::new(Reason::UnseenSender, bytes, 0)];
    flow
}
