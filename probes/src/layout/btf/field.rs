//! Offset, size and bits of a structure member.

use super::error::BtfError;
use super::table::{Member, TypeTable};

/// Location of a member in its structure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Field {
    /// Offset from the start of the structure, in bytes; of a bitfield, that of the byte with its
    /// first bit.
    pub offset: u32,
    /// Size of the member's type in bytes; of a bitfield, the number of bytes that its bits touch.
    pub size: u32,
    /// Bits within those bytes; `None` if the member is not a bitfield.
    pub bits: Option<Bits>,
}

/// Bits of a bitfield within the bytes of its [`Field`], in little-endian numbering.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bits {
    /// Number of the first bit.
    pub shift: u8,
    /// Number of bits.
    pub width: u8,
}

/// Describes a member that begins `bits` bits after the start of the outermost structure.
pub(super) fn describe(table: &TypeTable, member: &Member, bits: u64) -> Result<Field, BtfError> {
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
    let size = table.size_of(member.type_id, 0)?;
    // Old BTF encodes bitfields as integers with fewer bits than their bytes.
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
