//! The call that brought bytes to a sink.

use crate::decode::endpoints::EndpointId;

/// Calls that are summed up as one edge: same process, same system call, same endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct EdgeKey {
    pub(crate) tgid: u32,
    pub(crate) nr: u32,
    pub(crate) from: EndpointId,
    pub(crate) to: EndpointId,
}

/// The call that sent bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sender {
    pub(crate) edge: EdgeKey,
    /// Instruction pointer of the caller.
    pub(crate) user_ip: u64,
    pub(crate) call_id: u64,
    /// Number of the stream that the bytes were sent to; 0 if the sink is no stream.
    pub(crate) stream: u64,
}
