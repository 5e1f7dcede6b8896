//! The payload: unpredictable bytes, so that a matching digest means that all of them were
//! delivered.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use bufferlist::{Pages, PagesMut};
use sha2::{Digest as _, Sha256};

use super::fixture::DemoError;

/// Alignment of direct I/O that every current disk accepts.
pub(crate) const BLOCK: u64 = 4096;

/// Bytes that are read and hashed at a time.
const READ_SIZE: usize = 256 * 1024;

/// SHA-256 digest.
pub(crate) type Digest = [u8; 32];

/// Bytes to send, in pages that can be vmspliced.
pub(crate) struct Payload {
    pages: Pages,
    len: u64,
    exact: Digest,
    blocks: Digest,
}

impl Payload {
    /// Generates `len` bytes, padded to whole blocks.
    pub(crate) fn new(len: u64) -> Result<Self, DemoError> {
        let mut pages = PagesMut::new(len.next_multiple_of(BLOCK) as usize)?;
        fill(pages.as_mut_slice(), seed());
        let pages = pages.seal()?;
        let (exact, rest) = pages.split_at(len as usize);
        let mut hash = Sha256::new_with_prefix(exact);
        let exact = hash.clone().finalize().into();
        hash.update(rest);
        let blocks = hash.finalize().into();
        Ok(Self {
            pages,
            len,
            exact,
            blocks,
        })
    }

    /// Returns the requested number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the number of bytes, padded to whole blocks.
    pub(crate) fn in_blocks(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Returns the pages of all blocks.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Returns the first `len` bytes.
    pub(crate) fn bytes(&self, len: u64) -> &[u8] {
        &self.pages[..len as usize]
    }

    /// Returns whether `received` is the first `len` bytes of the payload.
    pub(crate) fn is(&self, received: &Received, len: u64) -> bool {
        let digest = if len == self.len { self.exact } else { self.blocks };
        received.bytes == len && received.digest == digest
    }
}

/// Returns a seed that differs from run to run, so that leftovers of an earlier run cannot pass as
/// the payload.
fn seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32)
}

/// Fills a buffer by Marsaglia's xorshift64, which is not secret, repeats no page, and is faster
/// than any disk.
fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

/// Length and digest of the bytes received at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    bytes: u64,
    digest: Digest,
}

impl Received {
    /// Returns the number of bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads a stream to its end.
    pub(crate) fn of_stream(mut stream: impl Read) -> io::Result<Self> {
        Self::read(|buffer, _| stream.read(buffer))
    }

    /// Reads a file from its beginning to its end.
    pub(crate) fn of_file(file: &File) -> io::Result<Self> {
        Self::read(|buffer, at| file.read_at(buffer, at))
    }

    fn read(mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<Self> {
        let mut buffer = vec![0; READ_SIZE];
        let mut tally = DigestBuilder::default();
        loop {
            match read(&mut buffer, tally.bytes) {
                Ok(0) => return Ok(tally.finish()),
                Ok(got) => tally.add(&buffer[..got]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The error of a socket timeout, which would not tell a user anything.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "no byte and no end of stream for a minute",
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Accumulates received bytes.
#[derive(Default)]
pub(crate) struct DigestBuilder {
    bytes: u64,
    hash: Sha256,
}

impl DigestBuilder {
    /// Adds received bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Returns the length and digest.
    pub(crate) fn finish(self) -> Received {
        Received {
            bytes: self.bytes,
            digest: self.hash.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_or_missing_byte_is_detected_at_any_size() {
        for len in [1, 7, 4095, 4096, 5000] {
            let content = Payload::new(len).expect("content");
            for part in [len, content.in_blocks()] {
                let sent = content.bytes(part).to_vec();
                let received = |bytes: &[u8]| Received::of_stream(bytes).expect("memory can be read");
                assert!(content.is(&received(&sent), part), "{len}");
                assert!(!content.is(&received(&sent[1..]), part), "{len}");
                let mut changed = sent;
                *changed.last_mut().expect("not empty") ^= 1;
                assert!(!content.is(&received(&changed), part), "{len}");
            }
        }
    }

    #[test]
    fn payload_pages_are_distinct() {
        let mut bytes = vec![0; 64 * BLOCK as usize];
        fill(&mut bytes, 42);
        let mut pages: Vec<&[u8]> = bytes.chunks(BLOCK as usize).collect();
        pages.sort_unstable();
        pages.dedup();
        assert_eq!(pages.len(), 64);
    }
}
