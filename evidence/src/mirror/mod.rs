//! Stage 2a: mirrors of pipes and streams.

pub(crate) mod initial_pipes;
pub(crate) mod pipe_mirror;
pub(crate) mod pipe_position;
pub(crate) mod pipe_usage;
pub(crate) mod reorder;
pub(crate) mod sockets;
pub(crate) mod stream;
