//! A pool with one empty pipe at hand.

use super::cell::IdleCell;
use super::pool::{NoPipe, PipeProvider, Pool, PooledPipe};

/// A pool and one empty pipe of it at hand, so that a loop that fills and empties the same pipe asks nobody.
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

    /// As [`Pool::take`], from the hand first.
    pub(crate) fn get(&mut self, want: u64, need: u64) -> Result<PooledPipe, NoPipe> {
        match self.take_spare(need).and_then(IdleCell::into_pipe) {
            Some(pipe) => Ok(pipe),
            None => self.pool.get(want, need),
        }
    }

    /// As [`take`](Self::take), with the cell around it.
    #[inline]
    pub(crate) fn get_cell(&mut self, want: u64, need: u64) -> Result<IdleCell, NoPipe> {
        match self.take_spare(need) {
            Some(cell) => Ok(cell),
            None => Ok(IdleCell::new(self.pool.get(want, need)?, &self.pool)),
        }
    }

    /// What is at hand, if it will do. What could not be grown before is not tried again for each chunk: a spare is good
    /// if it is big enough to work with.
    fn take_spare(&mut self, need: u64) -> Option<IdleCell> {
        self.spare.take().filter(|spare| spare.has_capacity(need))
    }

    /// Keeps an empty pipe at hand.
    pub(crate) fn put(&mut self, pipe: PooledPipe) {
        if pipe.ledger.is_empty() {
            self.spare = Some(IdleCell::new(pipe, &self.pool));
        }
    }

    /// Keeps an empty cell at hand.
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
