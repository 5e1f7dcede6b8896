//! Sink: the caller's memory.

use super::direct::{DirectFile, requests};
use crate::decode::call::ObservedCall;
use crate::decode::endpoint::{Endpoint, MemoryState};
use crate::decode::observations::CallStation;
use crate::evidence::Evidence;
use crate::history::Outcome;
use crate::sender::Sender;
use crate::span::{Location, Span};
use zctrace_contract::Reason;

impl Evidence {
    pub(super) fn deliver_to_memory(&mut self, call: &ObservedCall, memory: &MemoryState, spans: &[Span], by: &Sender) {
        let Endpoint::Direct(file) = &call.source else {
            // read, recv and vmsplice into memory copy by contract (fs/splice.c: `pipe_to_user()`).
            return self.deliver_all(spans, Outcome::Copied(Reason::IntoMemory), by);
        };
        // A device may write straight into the caller's pages. The requests to it then name them.
        let expected = spans.first().map(|first| Span {
            location: Location::Memory(memory.address),
            ..*first
        });
        let requests = requests(call, CallStation::BioRead, &self.config.pipe_buf_ops);
        let file = DirectFile::source(file, &self.config);
        self.match_requests(expected.as_slice(), requests, &file, by);
    }
}
