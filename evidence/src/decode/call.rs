//! Decoded calls: two endpoints, a number of bytes, and the observations made inside the call.

use std::borrow::Cow;
use std::collections::HashSet;

use zctrace_records::{Call, PageRange, call_flag, endpoint_kind, nr};

use super::endpoint::{Endpoint, MemoryState, PipeState};
use super::endpoints::EndpointIdentity;
use super::observations::{CallObservations, CallStation};

/// `MSG_PEEK` (include/linux/socket.h): the bytes stay in the socket.
const MSG_PEEK: u32 = 2;
/// `MSG_TRUNC` (include/linux/socket.h).
const MSG_TRUNC: u32 = 0x20;
/// `MSG_ZEROCOPY` (include/linux/socket.h).
const MSG_ZEROCOPY: u32 = 0x400_0000;

/// Returns how many bytes of the caller's buffers or of two files a call moved.
///
/// With `MSG_TRUNC` a receive returns the length of the datagram, which can be larger than the
/// buffers (recv(2)).
fn bytes_of(call: &Call) -> u64 {
    let bytes = call.result.max(0) as u64;
    let receives = matches!(call.nr, nr::RECVFROM | nr::RECVMSG);
    if receives && call.op_flags & MSG_TRUNC != 0 && call.source.kind != endpoint_kind::TCP {
        return bytes.min(call.requested);
    }
    bytes
}

/// A system call that moved bytes, together with the page observations made during it.
#[derive(Debug)]
pub(crate) struct ObservedCall {
    /// Number of the call, from 1.
    pub(crate) call_id: u64,
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    /// System call number.
    pub(crate) nr: u32,
    pub(crate) entered_ns: u64,
    pub(crate) exited_ns: u64,
    /// Instruction pointer of the caller.
    pub(crate) user_ip: u64,
    /// Bytes that the call returned; 0 if it failed.
    pub(crate) bytes: u64,
    /// Bytes of the sink's own folios, in the range that the call writes, that became dirty inside
    /// the call.
    pub(crate) dirtied_bytes: u64,
    /// `copy_file_range`: whether the thread had an internal pipe, by which the kernel copies,
    /// before and after the call.
    splice_pipe: (bool, bool),
    /// `MSG_*`, `SPLICE_F_*` or `RWF_*`.
    op_flags: u32,
    /// Page records of pipes that the programs wrote for this call.
    page_records: u32,
    pub(crate) source: Endpoint,
    pub(crate) sink: Endpoint,
    pub(crate) source_identity: EndpointIdentity,
    pub(crate) sink_identity: EndpointIdentity,
    pub(crate) observations: CallObservations,
}

impl ObservedCall {
    /// Decodes a call. Its page records came before it. `no_direct_io` are the filesystems on which
    /// `O_DIRECT` has no effect, by device number.
    pub(crate) fn new(call: &Call, observations: CallObservations, no_direct_io: &HashSet<u32>) -> Self {
        let memory = MemoryState {
            address: call.memory,
            is_contiguous: call.flags & call_flag::CONTIGUOUS != 0,
        };
        Self {
            call_id: call.call_id,
            tgid: call.header.tgid,
            tid: call.header.tid,
            nr: call.nr,
            entered_ns: call.entered_ns,
            exited_ns: call.header.timestamp_ns,
            user_ip: call.user_ip,
            bytes: bytes_of(call),
            // The programs write 1 if the thread has no internal pipe.
            splice_pipe: (call.source.tail_before != 1, call.source.tail_after != 1),
            dirtied_bytes: call.dirtied_bytes,
            op_flags: call.op_flags,
            page_records: call.page_records,
            source: Endpoint::of(&call.source, memory).as_it_behaves(no_direct_io),
            sink: Endpoint::of(&call.sink, memory).as_it_behaves(no_direct_io),
            source_identity: EndpointIdentity::of(&call.source),
            sink_identity: EndpointIdentity::of(&call.sink),
            observations,
        }
    }

    /// Returns the pipes among the endpoints.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = &PipeState> {
        [self.source.as_pipe(), self.sink.as_pipe()].into_iter().flatten()
    }

    /// Returns whether the bytes stay in the source pipe (tee).
    pub(crate) fn is_tee(&self) -> bool {
        self.nr == nr::TEE
    }

    pub(crate) fn is_copy_file_range(&self) -> bool {
        self.nr == nr::COPY_FILE_RANGE
    }

    /// Returns whether the filesystem served a `copy_file_range` by itself: it shares the extents
    /// of both files (`fs/remap_range.c`: `vfs_clone_file_range()`), because the other way leads
    /// through the thread's internal pipe (`fs/read_write.c`: `splice_copy_file_range()`).
    pub(crate) fn is_cloned(&self) -> bool {
        self.is_copy_file_range()
            && self.splice_pipe == (false, false)
            && self.source_identity.is_on_one_device(&self.sink_identity)
    }

    /// Returns whether the kernel copied the bytes of a `copy_file_range` by the thread's internal
    /// pipe, because it allocated that pipe inside the call. In a later call of the thread the pipe
    /// exists already and shows nothing.
    pub(crate) fn is_copied_by_splice_pipe(&self) -> bool {
        self.is_copy_file_range() && self.splice_pipe == (false, true)
    }

    /// Returns whether the call passes pages of the caller's memory to a pipe, or reads a pipe into
    /// it.
    pub(crate) fn is_vmsplice(&self) -> bool {
        self.nr == nr::VMSPLICE
    }

    /// Returns whether the call copies out of the caller's memory by contract: write, send and
    /// their vectored forms. vmsplice passes the caller's pages instead.
    pub(crate) fn copies_from_memory(&self) -> bool {
        self.source.is_memory() && self.nr != nr::VMSPLICE
    }

    /// Returns whether a receive leaves its bytes in the socket.
    pub(crate) fn is_socket_peek(&self) -> bool {
        matches!(self.nr, nr::RECVFROM | nr::RECVMSG) && self.op_flags & MSG_PEEK != 0
    }

    /// Returns whether a send passes the caller's own pages (`MSG_ZEROCOPY`).
    pub(crate) fn sends_user_pages(&self) -> bool {
        matches!(self.nr, nr::SENDTO | nr::SENDMSG) && self.op_flags & MSG_ZEROCOPY != 0
    }

    /// Returns by how much a TCP receiver advanced beyond the call's result; 0 for other sources.
    ///
    /// One is the end of the stream, which counts as a byte (net/ipv4/tcp.c: `tcp_read_sock()`), or
    /// another reader's byte: positions may then be wrong by it.
    pub(crate) fn receive_surplus(&self) -> u32 {
        match &self.source {
            Endpoint::Tcp(tcp) => tcp.advance().wrapping_sub(self.bytes as u32),
            _ => 0,
        }
    }

    /// Returns the page ranges observed in a pipe's slots, in order. Returns none if one of the
    /// call's page records was lost: each range behind the hole would be at the wrong position.
    pub(crate) fn slots(&self, station: CallStation) -> Cow<'_, [PageRange]> {
        if self.observations.has_all_pipe_records(self.page_records) {
            self.observations.ranges(station)
        } else {
            Cow::default()
        }
    }
}
