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
use crate::mirror::sockets::{SentSums, Sockets};

/// Sums of all connections, by the endpoint of the sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnseenSenders {
    closed: SumsByEndpoint,
    /// Sums of connections that were open when the account began, to be subtracted.
    at_start: SumsByEndpoint,
}

type SumsByEndpoint = FastMap<EndpointId, SentSums>;

/// Adds the sums of open connections to those of their endpoints.
fn add_open(all: &mut SumsByEndpoint, sockets: &Sockets, endpoints: &Endpoints) {
    for (sock, sums) in sockets.open_sums() {
        if let Some(id) = endpoints.socket(sock) {
            all.entry(id).or_default().add(sums);
        }
    }
}

impl UnseenSenders {
    /// Adds a connection that has ended.
    pub(crate) fn closed(&mut self, id: EndpointId, sums: Option<SentSums>) {
        if let Some(sums) = sums {
            self.closed.entry(id).or_default().add(sums);
        }
    }

    /// Starts a new account.
    pub(crate) fn reset(&mut self, sockets: &Sockets, endpoints: &Endpoints) {
        self.closed.clear();
        self.at_start.clear();
        add_open(&mut self.at_start, sockets, endpoints);
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
        add_open(&mut all, sockets, endpoints);
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
            let before = self.at_start.get(&id).copied().unwrap_or_default();
            let Some(plain) = counted.get(&endpoints.inode_of(id)).copied().unwrap_or(Some(0)) else {
                continue;
            };
            let carried = sums.carried.saturating_sub(before.carried);
            let sent = sums.by_calls.saturating_sub(before.by_calls).saturating_add(plain);
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
