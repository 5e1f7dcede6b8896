//! Pipes as containers of kernel pages: the ring and its ledger, the pool they come from, the shared cells of a list.

mod cache;
mod cell;
mod dev_null;
mod inventory;
mod ledger;
mod owned_pipe;
mod pool;

pub(crate) use cache::PipeCache;
pub(crate) use cell::{Head, IdleCell, PipeCell, PipeRange};
pub(crate) use ledger::SlotLayout;
pub(crate) use owned_pipe::OwnedPipe;
pub(crate) use pool::{NoPipe, PipeProvider, PooledPipe};
pub use pool::{Pool, PoolStats};
