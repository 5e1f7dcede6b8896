//! Blocks: what is written and checked at once. Many frames, compressed together, with a checksum over all.

use std::io::{self, Read};

use super::head::{read_most, u16_at, u32_at, u64_at};

/// The first bytes of every block.
const MARK: [u8; 4] = *b"ZCTb";
/// Bytes before what is stored.
pub(super) const HEADER: usize = 40;
/// A block that has so many bytes of frames is written.
pub(super) const FULL: usize = 256 << 10;
/// No block has more.
pub(super) const LARGEST: usize = 8 << 20;

/// How frames are stored.
mod codec {
    pub(super) const PLAIN: u16 = 0;
    /// LZ4's block format: a tenth to a quarter of the size, at a gigabyte per second.
    pub(super) const LZ4: u16 = 1;
}

/// Frames on their way into a file.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Nanoseconds since watching began, at its first frame.
    pub(super) first_ns: u64,
    pub(super) frames: u32,
    pub(super) bytes: Vec<u8>,
}

impl Block {
    /// As it stands in a file, as block `number`.
    pub(super) fn to_bytes(&self, number: u32, into: &mut Vec<u8>) {
        into.clear();
        into.resize(HEADER + lz4_flex::block::get_maximum_output_size(self.bytes.len()), 0);
        let (codec, len) = match lz4_flex::block::compress_into(&self.bytes, &mut into[HEADER..]) {
            Ok(len) if len < self.bytes.len() => (codec::LZ4, len),
            _ => {
                into.truncate(HEADER);
                into.extend_from_slice(&self.bytes);
                (codec::PLAIN, self.bytes.len())
            }
        };
        into.truncate(HEADER + len);
        into[..4].copy_from_slice(&MARK);
        into[8..12].copy_from_slice(&number.to_le_bytes());
        into[12..16].copy_from_slice(&self.frames.to_le_bytes());
        into[16..20].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        into[20..24].copy_from_slice(&(len as u32).to_le_bytes());
        into[24..26].copy_from_slice(&codec.to_le_bytes());
        into[32..40].copy_from_slice(&self.first_ns.to_le_bytes());
        let sum = crc32c::crc32c(&into[8..]);
        into[4..8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// The numbers before what is stored. Believed only when the checksum was seen to be right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    sum: u32,
    number: u32,
    frames: u32,
    len: u32,
    pub(super) stored: u32,
    codec: u16,
    pub(super) first_ns: u64,
}

impl Header {
    /// `None`: this is no header.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let header = Self {
            sum: u32_at(bytes, 4),
            number: u32_at(bytes, 8),
            frames: u32_at(bytes, 12),
            len: u32_at(bytes, 16),
            stored: u32_at(bytes, 20),
            codec: u16_at(bytes, 24),
            first_ns: u64_at(bytes, 32),
        };
        let possible = header.len as usize <= LARGEST && header.stored <= header.len;
        (bytes[..4] == MARK && possible).then_some(header)
    }
}

/// What became of reading a block.
pub(super) enum Next {
    /// Its frames are in the room; it took so many bytes of the file, and has so many frames.
    Block { took: u64, frames: u32 },
    /// The file ends here.
    End,
    /// It cannot be used.
    Damaged(String),
}

/// Room for reading blocks.
#[derive(Debug, Default)]
pub(super) struct Room {
    stored: Vec<u8>,
    pub(super) frames: Vec<u8>,
}

impl Room {
    /// Reads block `number`.
    pub(super) fn read(&mut self, from: &mut impl Read, number: u32) -> io::Result<Next> {
        let damaged = |why: &str| Ok(Next::Damaged(format!("{why} in block {number}")));
        let mut header = [0; HEADER];
        match read_most(from, &mut header)? {
            0 => return Ok(Next::End),
            HEADER => {}
            _ => return damaged("the file ends"),
        }
        let Some(head) = Header::parse(&header) else {
            return damaged("the first bytes are wrong");
        };
        self.stored.clear();
        from.take(u64::from(head.stored)).read_to_end(&mut self.stored)?;
        if self.stored.len() < head.stored as usize {
            return damaged("the file ends");
        }
        if crc32c::crc32c_append(crc32c::crc32c(&header[8..]), &self.stored) != head.sum {
            return damaged("the checksum is wrong");
        }
        if head.number != number {
            return damaged("another block stands");
        }
        match head.codec {
            codec::PLAIN if head.stored == head.len => std::mem::swap(&mut self.frames, &mut self.stored),
            codec::LZ4 => {
                self.frames.resize(head.len as usize, 0);
                match lz4_flex::block::decompress_into(&self.stored, &mut self.frames) {
                    Ok(len) if len == self.frames.len() => {}
                    _ => return damaged("what was compressed makes no sense"),
                }
            }
            _ => return damaged("the compression is not known"),
        }
        Ok(Next::Block {
            took: HEADER as u64 + u64::from(head.stored),
            frames: head.frames,
        })
    }
}
