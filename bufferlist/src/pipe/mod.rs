//! Pipes as containers of kernel pages: the pipe and its ledger, the pool, and the cells that lists
//! share.

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
