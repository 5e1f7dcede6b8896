//! CRC-32C of lists, cached for bytes that cannot change.

use super::collect_bytes;
use crate::counts::Copies;
use crate::error::Result;
use crate::journal::{ApiCall, Caller};
use crate::list::BufferList;
use crate::reason::Reason;
use crate::segment::{Segment, SegmentId, Stability};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Checksum, and whether the bytes under it may have changed since.
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
    /// Returns the checksum as it was computed. Over volatile pages it may be outdated.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::new().crc32c()?.value(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn value(self) -> u32 {
        self.value
    }

    /// Returns the checksum, or `None` if others may change the pages under it.
    /// [`stabilize`](BufferList::stabilize) prevents such changes.
    ///
    /// ```
    /// assert!(bufferlist::BufferList::from("mine").crc32c()?.stable().is_some());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stable(self) -> Option<u32> {
        (self.stability == Stability::Private).then_some(self.value)
    }
}

/// Fewer bytes are faster to checksum again than to look up.
const MIN_CACHED_LEN: u64 = 1024;

/// Number of checksums at which the cache is emptied. Each takes 64 bytes, so the cache takes at
/// most a megabyte.
const MAX_CACHED_CRCS: usize = 16 * 1024;

/// Checksums of immutable byte ranges, by segment ID, address and length. One cache for the
/// process, because clones and parts of a segment are in many lists.
static CACHE: OnceLock<Mutex<HashMap<Key, u32>>> = OnceLock::new();

/// Identity of the bytes of a private segment: segment ID, address, length.
type Key = (SegmentId, usize, u64);

fn key(segment: &Segment, memory: &Bytes) -> Key {
    // Memory of a segment does not move, so the address identifies the part.
    (segment.id(), memory.as_ptr() as usize, memory.len() as u64)
}

/// Returns the checksum of the bytes before a segment in memory and the segment. Caches that of the
/// segment.
fn append_cached(before: u32, segment: &Segment, memory: &Bytes) -> u32 {
    if (memory.len() as u64) < MIN_CACHED_LEN {
        return crc32c::crc32c_append(before, memory);
    }
    let sums = CACHE.get_or_init(Mutex::default);
    let key = key(segment, memory);
    let known = sums.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
    let own = known.unwrap_or_else(|| {
        let own = crc32c::crc32c(memory);
        let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
        if sums.len() >= MAX_CACHED_CRCS {
            sums.clear();
        }
        sums.insert(key, own);
        own
    });
    combine(before, own, memory.len() as u64)
}

/// Polynomial of CRC-32C. Like all numbers here, it has its lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Multiplies two polynomials modulo [`POLYNOMIAL`].
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { b >> 1 ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// x to the power 8 · 2^n, which is the factor of 2^n zero bytes.
static POWERS_OF_X8: [u32; 64] = {
    let mut powers = [0; 64];
    // x^8. Each further power is the square of the one before.
    let mut power = 1 << 23;
    let mut n = 0;
    while n < 64 {
        powers[n] = power;
        power = multiply(power, power);
        n += 1;
    }
    powers
};

/// Combines the checksums of two adjacent byte ranges, as zlib's `crc32_combine` does.
///
/// The first checksum is multiplied by the factor of as many zero bytes as the second range has,
/// with one multiplication for each bit of that number. (The `crc32c` crate multiplies matrices,
/// which takes 15 µs or more: the time to checksum 200 KiB.)
fn combine(first: u32, second: u32, len: u64) -> u32 {
    let mut shifted = first;
    let mut left = len;
    while left > 0 && first != 0 {
        shifted = multiply(shifted, POWERS_OF_X8[left.trailing_zeros() as usize]);
        left &= left - 1;
    }
    shifted ^ second
}

impl BufferList {
    /// Computes the CRC-32C (Castagnoli) of the list.
    ///
    /// Memory is read in place, and checksums of large segments are cached and combined. Bytes in
    /// pipes and files are peeked at, which costs a copy.
    ///
    /// # Errors
    ///
    /// Fails like [`peek`](Self::peek).
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
        let mut copies = Copies::of(Caller::of(ApiCall::Crc32c));
        let result = self.compute_crc(&mut copies);
        self.counter().record(&copies);
        Ok(Crc {
            value: result?,
            stability: self.stability(),
        })
    }

    fn compute_crc(&self, copies: &mut Copies) -> Result<u32> {
        /// Bytes of a pipe or file that are held in memory at a time, so that the checksum of a
        /// large list takes constant memory.
        const WINDOW: u64 = 1 << 20;
        let mut sum = 0;
        for segment in self.segments() {
            if let Some(memory) = segment.memory() {
                sum = append_cached(sum, segment, &memory);
                continue;
            }
            let mut at = 0;
            while at < segment.len() {
                let end = segment.len().min(at + WINDOW);
                let mut chunks = Vec::new();
                collect_bytes(segment, at..end, Reason::Peeked, copies, &mut chunks)?;
                sum = chunks.iter().fold(sum, |sum, chunk| crc32c::crc32c_append(sum, chunk));
                at = end;
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crcs_of_parts_combine_to_crc_of_whole() {
        let bytes: Vec<u8> = (0..70_001_u32).map(|at| (at.wrapping_mul(at) % 251) as u8).collect();
        for cut in [0, 1, 2, 7, 4095, 4096, 65_536, 70_000, 70_001] {
            let (first, second) = bytes.split_at(cut);
            let combined = combine(crc32c::crc32c(first), crc32c::crc32c(second), second.len() as u64);
            assert_eq!(combined, crc32c::crc32c(&bytes), "cut at {cut}");
        }
    }

    #[test]
    fn cached_crc_equals_computed_crc() {
        let mut list = BufferList::from("a header, too small to be kept");
        list.push(vec![7; 5000]);
        list.push(vec![8; 3000]);
        let whole = crc32c::crc32c(&list.to_bytes().expect("memory"));
        for _ in 0..2 {
            assert_eq!(list.crc32c().expect("memory").value(), whole);
        }
    }
}
