//! Blocks: the units of writing and checking. A block holds many frames, compressed together, with
//! one checksum.

use std::io::{self, Read};

use super::header::{read_up_to, u16_at, u32_at, u64_at};

/// First bytes of every block.
const MAGIC: [u8; 4] = *b"ZCTb";
/// Length of a block's header, in bytes.
pub(super) const HEADER_LEN: usize = 40;
/// Bytes of frames from which on a block is written.
pub(super) const TARGET_LEN: usize = 256 << 10;
/// Maximum bytes of frames in a block.
pub(super) const MAX_LEN: usize = 8 << 20;

/// Encodings of a block's frames.
mod codec {
    pub(super) const UNCOMPRESSED: u16 = 0;
    /// LZ4 block format, which shrinks frames to between a tenth and a quarter at 1 GB/s.
    pub(super) const LZ4: u16 = 1;
}

/// Frames that are collected for writing.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Time of the block's first frame, in nanoseconds since the trace began.
    pub(super) first_ns: u64,
    pub(super) frames: u32,
    pub(super) bytes: Vec<u8>,
}

impl Block {
    /// Replaces `into` with the block as stored in a file, as block `number`.
    pub(super) fn to_bytes(&self, number: u32, into: &mut Vec<u8>) {
        into.clear();
        into.resize(
            HEADER_LEN + lz4_flex::block::get_maximum_output_size(self.bytes.len()),
            0,
        );
        let (codec, len) = match lz4_flex::block::compress_into(&self.bytes, &mut into[HEADER_LEN..]) {
            Ok(len) if len < self.bytes.len() => (codec::LZ4, len),
            _ => {
                into.truncate(HEADER_LEN);
                into.extend_from_slice(&self.bytes);
                (codec::UNCOMPRESSED, self.bytes.len())
            }
        };
        into.truncate(HEADER_LEN + len);
        into[..4].copy_from_slice(&MAGIC);
        into[8..12].copy_from_slice(&number.to_le_bytes());
        into[12..16].copy_from_slice(&self.frames.to_le_bytes());
        into[16..20].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        into[20..24].copy_from_slice(&(len as u32).to_le_bytes());
        into[24..26].copy_from_slice(&codec.to_le_bytes());
        into[32..40].copy_from_slice(&self.first_ns.to_le_bytes());
        let checksum = crc32c::crc32c(&into[8..]);
        into[4..8].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Header of a block. Its numbers are unverified until the block's checksum is verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockHeader {
    checksum: u32,
    number: u32,
    frames: u32,
    len: u32,
    pub(super) stored: u32,
    codec: u16,
    pub(super) first_ns: u64,
}

impl BlockHeader {
    /// Parses a header. Returns `None` if the magic is wrong or a length exceeds its limit.
    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let header = Self {
            checksum: u32_at(bytes, 4),
            number: u32_at(bytes, 8),
            frames: u32_at(bytes, 12),
            len: u32_at(bytes, 16),
            stored: u32_at(bytes, 20),
            codec: u16_at(bytes, 24),
            first_ns: u64_at(bytes, 32),
        };
        let possible = header.len as usize <= MAX_LEN && header.stored <= header.len;
        (bytes[..4] == MAGIC && possible).then_some(header)
    }
}

/// Result of reading a block.
pub(super) enum ReadResult {
    /// Valid block, whose frames are in [`BlockBuffer::frames`]: its length in the file, in bytes,
    /// and its number of frames.
    Block { len_in_file: u64, frames: u32 },
    /// End of the file.
    End,
    /// Unusable block, with the reason.
    Damaged(String),
}

/// Buffers for reading blocks: the stored bytes, and the frames after decompression.
#[derive(Debug, Default)]
pub(super) struct BlockBuffer {
    stored: Vec<u8>,
    pub(super) frames: Vec<u8>,
}

impl BlockBuffer {
    /// Reads the next block of the file, which must have the number `number`.
    pub(super) fn read(&mut self, from: &mut impl Read, number: u32) -> io::Result<ReadResult> {
        let damaged = |reason: &str| Ok(ReadResult::Damaged(format!("{reason} in block {number}")));
        let mut header_bytes = [0; HEADER_LEN];
        match read_up_to(from, &mut header_bytes)? {
            0 => return Ok(ReadResult::End),
            HEADER_LEN => {}
            _ => return damaged("the file ends"),
        }
        let Some(header) = BlockHeader::parse(&header_bytes) else {
            return damaged("the first bytes are wrong");
        };
        self.stored.clear();
        from.take(u64::from(header.stored)).read_to_end(&mut self.stored)?;
        if self.stored.len() < header.stored as usize {
            return damaged("the file ends");
        }
        if crc32c::crc32c_append(crc32c::crc32c(&header_bytes[8..]), &self.stored) != header.checksum {
            return damaged("the checksum is wrong");
        }
        if header.number != number {
            return damaged("the number is wrong");
        }
        match header.codec {
            codec::UNCOMPRESSED if header.stored == header.len => std::mem::swap(&mut self.frames, &mut self.stored),
            codec::LZ4 => {
                self.frames.resize(header.len as usize, 0);
                match lz4_flex::block::decompress_into(&self.stored, &mut self.frames) {
                    Ok(len) if len == self.frames.len() => {}
                    _ => return damaged("the compressed data is invalid"),
                }
            }
            _ => return damaged("the compression is unknown"),
        }
        Ok(ReadResult::Block {
            len_in_file: HEADER_LEN as u64 + u64::from(header.stored),
            frames: header.frames,
        })
    }
}
