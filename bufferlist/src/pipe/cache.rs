//! A cache of one pipe in front of a pool.

use super::cell::IdleCell;
use super::pool::{NoPipe, PipeProvider, Pool, PooledPipe};

/// Pool handle with one spare pipe, so that a loop that fills and empties the same pipe never locks
/// the pool.
#[derive(Debug)]
pub(crate) struct PipeCache {
    pool: Pool,
    spare: Option<IdleCell>,
}

impl PipeCache {
    pub(crate) fn new(pool: &Pool) -> Self {
        Self {
            pool: pool.clone(),
            spare: None,
        }
    }

    /// Returns the spare pipe if it is large enough; otherwise a pipe from the pool, as
    /// [`Pool::get`] does.
    pub(crate) fn get(&mut self, want: u64, need: u64) -> Result<PooledPipe, NoPipe> {
        match self.take_spare(need).and_then(IdleCell::into_pipe) {
            Some(pipe) => Ok(pipe),
            None => self.pool.get(want, need),
        }
    }

    /// Returns a pipe as [`get`](Self::get) does, together with the cell around it.
    #[inline]
    pub(crate) fn get_cell(&mut self, want: u64, need: u64) -> Result<IdleCell, NoPipe> {
        match self.take_spare(need) {
            Some(cell) => Ok(cell),
            None => Ok(IdleCell::new(self.pool.get(want, need)?, &self.pool)),
        }
    }

    /// Takes the spare if it has `need` slots and belongs to this process.
    ///
    /// A spare smaller than wanted is accepted, so that a pipe that could not be grown is not grown
    /// again for each chunk.
    fn take_spare(&mut self, need: u64) -> Option<IdleCell> {
        self.spare.take().filter(|spare| spare.has_capacity(need))
    }

    /// Keeps an empty pipe as the spare.
    pub(crate) fn put(&mut self, pipe: PooledPipe) {
        if pipe.ledger.is_empty() {
            self.spare = Some(IdleCell::new(pipe, &self.pool));
        }
    }

    /// Keeps the cell of an empty pipe as the spare.
    #[inline]
    pub(crate) fn put_cell(&mut self, cell: IdleCell) {
        self.spare = Some(cell);
    }
}

impl PipeProvider for PipeCache {
    fn provide(&mut self, want: u64, need: u64) -> Result<PooledPipe, NoPipe> {
        self.get(want, need)
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }
}
