//! A member: where it is, how large, and which bits of it.

use super::error::BtfError;
use super::table::{Member, Table};

/// Where a member of a struct is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Field {
    /// Bytes from the start of the struct. For a bitfield, those of the byte that its first bit is in.
    pub offset: u32,
    /// Bytes of its type; of a bitfield, the bytes that its bits are spread over.
    pub size: u32,
    /// Which bits, if it is a bitfield.
    pub bits: Option<Bits>,
}

/// The bits of a bitfield, within the bytes of its [`Field`], counted as a little-endian machine does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bits {
    /// The first bit.
    pub shift: u8,
    /// How many.
    pub width: u8,
}

/// The field that a member is, at `bits` from the start of the outermost struct.
pub(super) fn describe(table: &Table, member: &Member, bits: u64) -> Result<Field, BtfError> {
    let offset = u32::try_from(bits / 8).map_err(|_| BtfError::Malformed("a member's offset overflows"))?;
    let shift = (bits % 8) as u8;
    if member.bit_width > 0 {
        let width = member.bit_width;
        let size = (u32::from(shift) + u32::from(width)).div_ceil(8);
        return Ok(Field {
            offset,
            size,
            bits: Some(Bits { shift, width }),
        });
    }
    if shift != 0 {
        return Err(BtfError::Malformed("a member that is no bitfield begins within a byte"));
    }
    let size = table.size(member.type_id, 0)?;
    // Old BTF has bitfields as integers of fewer bits than their bytes.
    match table.integer_bits(member.type_id)? {
        Some((first, width)) if u64::from(width) < u64::from(size) * 8 => Ok(Field {
            offset,
            size,
            bits: Some(Bits { shift: first, width }),
        }),
        _ => Ok(Field {
            offset,
            size,
            bits: None,
        }),
    }
}
