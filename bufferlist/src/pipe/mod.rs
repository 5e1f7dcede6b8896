//! Pipes as containers of kernel pages: the ring and its ledger, the pool they come from, the shared cells of a list.

mod cell;
mod dev_null;
mod fork_generation;
mod inventory;
mod ledger;
mod owned_pipe;
mod pool;

pub(crate) use cell::{Front, IdleCell, PipeCell, PipeRange};
pub(crate) use fork_generation::generation;
pub(crate) use ledger::Fill;
pub(crate) use owned_pipe::Ring;
pub(crate) use pool::{Lane, PooledPipe, Refused};
pub use pool::{Pool, PoolStats};
