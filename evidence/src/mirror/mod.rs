//! Stage 2, first half: mirrors of the kernel's state.
//!
//! A pipe's mirror holds the spans in its ring, a stream's the spans in flight and the packets that
//! carried them. Both are updated by observed calls only. A mirror either matches the kernel's
//! state or is empty.

pub(crate) mod desync;
pub(crate) mod initial_pipes;
pub(crate) mod mirror_slot;
pub(crate) mod pipe_mirror;
pub(crate) mod pipe_position;
pub(crate) mod pipe_usage;
pub(crate) mod pipes;
pub(crate) mod reorder;
pub(crate) mod sockets;
pub(crate) mod stream;
pub(crate) mod unix_stream;
