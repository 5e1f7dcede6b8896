//! The result of a peek: bytes in memory.

use super::concat;
use crate::receipt::Receipt;
use bytes::{Buf, Bytes};
use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Seek, SeekFrom};
use std::panic::Location;

/// A range of a list in memory, as returned by [`peek`](crate::BufferList::peek). Owns its bytes,
/// outlives the list and holds no lock.
///
/// Reads like a cursor: [`Buf`], [`Read`], [`BufRead`] and [`Seek`] all move the same position.
///
/// ```
/// use bufferlist::BufferList;
/// use bytes::Buf;
///
/// let list = BufferList::from(vec![0, 0, 1, 0, b'x']);
/// let mut header = list.peek(..4)?;
/// assert_eq!(header.get_u32(), 256);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct View {
    /// Chunks, none of them empty.
    chunks: Vec<Bytes>,
    /// Offset of each chunk.
    starts: Vec<u64>,
    len: u64,
    at: u64,
    receipt: Receipt,
    call_site: &'static Location<'static>,
}

impl View {
    pub(super) fn new(chunks: Vec<Bytes>, receipt: Receipt, line: &'static Location<'static>) -> Self {
        let mut len = 0;
        let starts = chunks
            .iter()
            .map(|chunk| {
                let start = len;
                len += chunk.len() as u64;
                start
            })
            .collect();
        Self {
            chunks,
            starts,
            len,
            at: 0,
            receipt,
            call_site: line,
        }
    }

    /// Returns the chunks of the whole range, independent of the position.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("one");
    /// list.push("two");
    /// assert_eq!(list.peek(..)?.chunks().collect::<Vec<_>>(), [b"one", b"two"]);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| &chunk[..])
    }

    /// Returns the number of bytes of the whole range, independent of the position.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::from("four").peek(1..)?.len(), 3);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the range is empty.
    ///
    /// ```
    /// assert!(bufferlist::BufferList::new().peek(..)?.is_empty());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the whole range into a vector.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::from("four").peek(..)?.to_vec(), b"four");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn to_vec(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// Returns the whole range in one piece, with a copy only if it is in several.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::from("four").peek(..)?.into_bytes(), "four");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_bytes(self) -> Bytes {
        concat(&self.chunks)
    }

    /// Returns the receipt of the copies that the peek made.
    ///
    /// ```
    /// assert_eq!(bufferlist::BufferList::from("free").peek(..)?.receipt().copied(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Returns the call site that peeked.
    ///
    /// ```
    /// let view = bufferlist::BufferList::from("free").peek(..)?;
    /// assert_eq!(view.call_site().file(), file!());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn call_site(&self) -> &'static Location<'static> {
        self.call_site
    }

    /// Returns the index of the chunk at the position, and the offset in it. `None` at the end.
    fn chunk_at_position(&self) -> Option<(usize, usize)> {
        if self.at >= self.len {
            return None;
        }
        let index = self.starts.partition_point(|&start| start <= self.at) - 1;
        Some((index, (self.at - self.starts[index]) as usize))
    }
}

impl Buf for View {
    fn remaining(&self) -> usize {
        self.len.saturating_sub(self.at) as usize
    }

    fn chunk(&self) -> &[u8] {
        self.chunk_at_position()
            .map_or(&[], |(index, offset)| &self.chunks[index][offset..])
    }

    fn chunks_vectored<'a>(&'a self, to: &mut [IoSlice<'a>]) -> usize {
        let Some((first, offset)) = self.chunk_at_position() else {
            return 0;
        };
        let mut filled = 0;
        for (slot, (index, chunk)) in to.iter_mut().zip(self.chunks.iter().enumerate().skip(first)) {
            *slot = IoSlice::new(if index == first { &chunk[offset..] } else { chunk });
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, n: usize) {
        assert!(
            n <= self.remaining(),
            "advance({n}) with {} bytes left",
            self.remaining()
        );
        self.at += n as u64;
    }
}

impl Read for View {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let chunk = Buf::chunk(self);
        let len = chunk.len().min(into.len());
        into[..len].copy_from_slice(&chunk[..len]);
        self.at += len as u64;
        Ok(len)
    }
}

impl BufRead for View {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(Buf::chunk(self))
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n as u64).min(self.len.max(self.at));
    }
}

impl Seek for View {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "seek to before the beginning, or beyond what a position can be",
            )
        })?;
        Ok(self.at)
    }
}

/// Compares the whole range, independent of the position.
impl PartialEq<[u8]> for View {
    fn eq(&self, other: &[u8]) -> bool {
        if self.len != other.len() as u64 {
            return false;
        }
        let mut rest = other;
        self.chunks.iter().all(|chunk| {
            let (here, after) = rest.split_at(chunk.len());
            rest = after;
            chunk == here
        })
    }
}

impl<const N: usize> PartialEq<[u8; N]> for View {
    fn eq(&self, other: &[u8; N]) -> bool {
        *self == other[..]
    }
}

/// Formats the size and the call site, never the contents.
impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "View of {} bytes in {} pieces, at {}, from {}",
            self.len,
            self.chunks.len(),
            self.at,
            self.call_site
        )
    }
}
