//! The sink side of a call: compares each byte's known location with the page observed at the sink.
//!
//! | sink | file |
//! |---|---|
//! | pipe | [`pipe`], with [`slot_extents`] for the bytes of each new slot |
//! | TCP or UNIX socket | [`socket`] |
//! | caller's memory | [`memory`] |
//! | file open with `O_DIRECT` | [`direct`] |
//! | page cache | [`page_cache`] |
//! | `/dev/null`, sinks that copy by contract, and others | here |

mod direct;
mod memory;
mod page_cache;
mod pipe;
mod slot_extents;
pub(crate) mod socket;

use crate::decode::call::ObservedCall;
use crate::decode::endpoint::Endpoint;
use crate::evidence::Evidence;
use crate::history::Outcome;
use crate::sender::Sender;
use crate::span::{Location, Span};
use zctrace_contract::Reason;

/// Writes from memory of at most this many bytes count as protocol, not payload.
const MAX_SMALL_WRITE: u64 = 512;

impl Evidence {
    /// Classifies the spans that a call took and delivers them to its sink.
    pub(crate) fn deliver(&mut self, call: &ObservedCall, spans: &[Span], by: Sender) {
        match &call.sink {
            Endpoint::Pipe(pipe) => self.deliver_to_pipe(call, pipe, spans, &by),
            Endpoint::Tcp(tcp) => self.deliver_to_tcp(tcp, spans, by),
            Endpoint::UnixStream(unix) => self.deliver_to_unix(call, unix, spans, by),
            Endpoint::Memory(memory) => self.deliver_to_memory(call, memory, spans, &by),
            Endpoint::Direct(file) => self.deliver_to_direct_file(call, file, spans, &by),
            Endpoint::Buffered(file) => self.deliver_to_page_cache(call, file, spans, &by),
            Endpoint::Null => self.deliver_all(spans, Outcome::Discarded, &by),
            // With MSG_ZEROCOPY the protocol may pass the caller's pages.
            Endpoint::Copying | Endpoint::Udp | Endpoint::Other
                if call.source.is_memory() && !call.sends_user_pages() =>
            {
                self.deliver_all(spans, Outcome::Copied(memory_copy_reason(call)), &by);
            }
            Endpoint::Copying if !call.source.is_memory() => {
                self.deliver_all(spans, Outcome::Copied(Reason::KernelCopies), &by);
            }
            Endpoint::Copying | Endpoint::Udp | Endpoint::Other => {
                self.deliver_unknown(spans, Reason::NotObserved, &by);
            }
        }
    }

    /// Delivers spans with one outcome.
    fn deliver_all(&mut self, spans: &[Span], outcome: Outcome, by: &Sender) {
        for span in spans {
            self.deliveries.deliver(*span, outcome, by);
        }
    }

    /// Delivers spans as unknown.
    fn deliver_unknown(&mut self, spans: &[Span], reason: Reason, by: &Sender) {
        for &span in spans {
            // A remote host is the more precise reason.
            let reason = match span.location {
                Location::Remote => Reason::BeyondThisHost,
                _ => reason,
            };
            self.deliveries.deliver(span, Outcome::Unknown(reason), by);
        }
    }
}

/// Returns the reason for a copy out of the caller's memory.
fn memory_copy_reason(call: &ObservedCall) -> Reason {
    if call.bytes <= MAX_SMALL_WRITE {
        Reason::SmallWrite
    } else {
        Reason::FromMemory
    }
}
