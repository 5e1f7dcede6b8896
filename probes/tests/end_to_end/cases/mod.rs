//! Cases whose truth was established without the tracer: by a page that is changed after the
//! transfer, or by the contract of the call. One file per subject.

mod absence;
mod devices;
mod direct_memory;
mod identity;
mod lives;
mod mounted;
mod results;
mod retransmission;
mod sockets;
mod vectors;
