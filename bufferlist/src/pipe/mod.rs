//! Pipes as containers of kernel pages: the ring and its ledger, the pool they come from, the shared cells of a list.

mod cell;
mod fork;
mod ledger;
mod null;
mod pool;
mod ring;
mod shelf;

pub(crate) use cell::{Front, IdleCell, PipeCell, PipeRange};
pub(crate) use fork::generation;
pub(crate) use ledger::Fill;
pub(crate) use pool::{Lane, PooledPipe, Refused};
pub use pool::{Pool, PoolStats};
pub(crate) use ring::Ring;
