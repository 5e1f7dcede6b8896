//! What is sent: bytes that nobody could guess, so that a digest which is right means that all of them arrived.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use bufferlist::{Pages, PagesMut};
use sha2::{Digest as _, Sha256};

use super::fixture::DemoError;

/// What direct I/O wants everything to be a multiple of, on every disk that is made today.
pub(crate) const BLOCK: u64 = 4096;

/// How much is read and hashed at a time.
const READ_SIZE: usize = 256 * 1024;

/// The SHA-256 of some bytes.
pub(crate) type Digest = [u8; 32];

/// The bytes to send, in pages that may be lent to the kernel.
pub(crate) struct Payload {
    pages: Pages,
    len: u64,
    exact: Digest,
    blocks: Digest,
}

impl Payload {
    /// Makes `len` bytes, and what is missing to a whole block.
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

    /// How many bytes were asked for.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The same, up to a whole block.
    pub(crate) fn in_blocks(&self) -> u64 {
        self.pages.len() as u64
    }

    /// All of it, in whole blocks.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The first `len` bytes.
    pub(crate) fn bytes(&self, len: u64) -> &[u8] {
        &self.pages[..len as usize]
    }

    /// Whether `arrival` is what was sent: `len` bytes, and the right ones.
    pub(crate) fn is(&self, received: &Received, len: u64) -> bool {
        let digest = if len == self.len { self.exact } else { self.blocks };
        received.bytes == len && received.digest == digest
    }
}

/// Differs from run to run, so that nothing which an earlier run left anywhere can pass for what this one sent.
fn seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32)
}

/// Marsaglia's xorshift64: not secret, but no page repeats, and it outruns any disk.
fn fill(bytes: &mut [u8], seed: u64) {
    let mut state = seed | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

/// What came out at the far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    bytes: u64,
    digest: Digest,
}

impl Received {
    /// How many bytes.
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
                // What a socket with a timeout answers: nothing that a reader would understand.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "no byte and no end came for a minute",
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// An arrival in the making.
#[derive(Default)]
pub(crate) struct DigestBuilder {
    bytes: u64,
    hash: Sha256,
}

impl DigestBuilder {
    /// More has arrived.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// That was all.
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
