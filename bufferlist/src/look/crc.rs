//! CRC-32C of lists: cached where the bytes cannot change, honest where they can.

use super::show;
use crate::counts::Copies;
use crate::error::Result;
use crate::list::BufferList;
use crate::reason::Reason;
use crate::segment::{Segment, SegmentId, Stability};
use bytes::Bytes;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A checksum, and whether it can still be true.
///
/// ```
/// use bufferlist::BufferList;
///
/// let crc = BufferList::from("123456789").crc32c()?;
/// assert_eq!(crc.stable(), Some(0xe306_9283));
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crc {
    value: u32,
    stability: Stability,
}

impl Crc {
    /// The number as it was computed. Over volatile pages it may be wrong by the time it is read.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().crc32c()?.value(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn value(self) -> u32 {
        self.value
    }

    /// The number, unless others may change the pages under it: then `None`, and
    /// [`stabilize`](BufferList::stabilize) is the mend.
    ///
    /// ```
    /// assert!(bufferlist::BufferList::from("mine").crc32c()?.stable().is_some());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stable(self) -> Option<u32> {
        (self.stability == Stability::Private).then_some(self.value)
    }
}

/// Fewer bytes are summed again sooner than they are found in a table, and their sums are not worth a place in it.
const WORTH_CACHING: u64 = 1024;

/// The cache is emptied when it holds so many sums: 64 bytes each, so a megabyte at most.
const MOST_SUMS: usize = 16 * 1024;

/// Sums of parts of cells that cannot change: by cell, start and length. One for the process, since clones and parts of a
/// cell are in many lists.
static SUMS: OnceLock<Mutex<HashMap<Key, u32>>> = OnceLock::new();

/// What names the bytes of a private segment: its cell, where in it they begin, how many.
type Key = (SegmentId, usize, u64);

fn key(segment: &Segment, memory: &Bytes) -> Key {
    // A cell of memory does not move, so the address says where in it a part begins.
    (segment.id(), memory.as_ptr() as usize, memory.len() as u64)
}

/// The sum of a segment in memory, from the cache if it was made before.
fn of_memory(segment: &Segment, memory: &Bytes) -> u32 {
    if (memory.len() as u64) < WORTH_CACHING {
        return crc32c::crc32c(memory);
    }
    let sums = SUMS.get_or_init(Mutex::default);
    let key = key(segment, memory);
    if let Some(&sum) = sums.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return sum;
    }
    let sum = crc32c::crc32c(memory);
    let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
    if sums.len() >= MOST_SUMS {
        sums.clear();
    }
    sums.insert(key, sum);
    sum
}

impl BufferList {
    /// The CRC-32C (Castagnoli) of the list. Memory is summed where it is, and sums of large pieces are remembered and
    /// combined; what is in pipes and files is looked at, which costs a copy.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("12345");
    /// list.push("6789");
    /// assert_eq!(list.crc32c()?.value(), 0xe306_9283);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn crc32c(&self) -> Result<Crc> {
        let mut copies = Copies::default();
        let result = self.sum(&mut copies);
        self.counter().record(&copies, Location::caller());
        Ok(Crc {
            value: result?,
            stability: self.stability(),
        })
    }

    fn sum(&self, copies: &mut Copies) -> Result<u32> {
        /// What is looked at in a pipe or file is dropped again after so many bytes: a sum of a large list runs in
        /// constant memory.
        const WINDOW: u64 = 1 << 20;
        let mut sum = 0;
        for segment in self.segments() {
            if let Some(memory) = segment.memory() {
                let part = of_memory(segment, &memory);
                sum = crc32c::crc32c_combine(sum, part, memory.len());
                continue;
            }
            let mut at = 0;
            while at < segment.len() {
                let end = segment.len().min(at + WINDOW);
                let mut chunks = Vec::new();
                show(segment, at..end, Reason::LookedAt, copies, &mut chunks)?;
                sum = chunks.iter().fold(sum, |sum, chunk| crc32c::crc32c_append(sum, chunk));
                at = end;
            }
        }
        Ok(sum)
    }
}
