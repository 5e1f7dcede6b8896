//! Types of a BTF blob, in the layout of include/uapi/linux/btf.h.

use super::error::BtfError;

/// BTF type ID; 0 is void.
pub(super) type TypeId = u32;

/// Limit on chains of typedefs, qualifiers and nested anonymous members. The kernel has a dozen at
/// most; damaged input can contain loops.
const MAX_DEPTH: u32 = 64;

/// First two bytes of a BTF blob (`BTF_MAGIC`), in the byte order of its machine.
const MAGIC: u16 = 0xeb9f;

/// Length of the version 1 header, in bytes.
const MIN_HEADER_LEN: usize = 24;

/// Kind of a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    /// const, volatile, restrict and type tags, which only rename the type that they refer to.
    Qualifier,
    Func,
    FuncProto,
    Var,
    Datasec,
    Float,
    DeclTag,
    Enum64,
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Int,
            2 => Self::Ptr,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Fwd,
            8 => Self::Typedef,
            9 | 10 | 11 | 18 => Self::Qualifier,
            12 => Self::Func,
            13 => Self::FuncProto,
            14 => Self::Var,
            15 => Self::Datasec,
            16 => Self::Float,
            17 => Self::DeclTag,
            19 => Self::Enum64,
            _ => return None,
        })
    }

    pub(super) const fn is_composite(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }

    /// Returns the number of bytes after the three common words, for `count` elements.
    const fn trailing_bytes(self, count: usize) -> usize {
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => 12 * count,
            Self::Enum | Self::FuncProto => 8 * count,
            Self::Ptr | Self::Fwd | Self::Typedef | Self::Qualifier | Self::Func | Self::Float => 0,
        }
    }
}

/// Common words of a type.
#[derive(Clone, Copy, Debug)]
struct TypeHeader {
    kind: Kind,
    /// For structures: offsets also hold the width of bitfields. For enums: values are signed.
    flag: bool,
    count: usize,
    name: u32,
    /// Size, or the type that is referred to.
    word: u32,
    /// Offset of the data after the common words.
    trailer: usize,
}

/// Member of a structure or union.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) type_id: TypeId,
    pub(super) bit_offset: u64,
    /// Width in bits; 0 if the member is not a bitfield.
    pub(super) bit_width: u8,
}

/// Index of the types of a blob.
#[derive(Debug)]
pub(super) struct TypeTable {
    bytes: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Offset of each type; the first has ID 1.
    types: Vec<u32>,
}

/// Reads a word, or returns an error if the blob is too short.
fn read_u32(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let word = at
        .checked_add(4)
        .and_then(|end| bytes.get(at..end))
        .and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes)
        .ok_or(BtfError::Malformed("it ends within a type"))
}

impl TypeTable {
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let magic = bytes
            .get(..2)
            .and_then(|magic| magic.try_into().ok())
            .map(u16::from_ne_bytes);
        match magic {
            Some(MAGIC) => {}
            Some(magic) if magic.swap_bytes() == MAGIC => return Err(BtfError::NotBtf("it is of another byte order")),
            _ if bytes.starts_with(b"\x7fELF") => {
                return Err(BtfError::NotBtf(
                    "it is an ELF file; extract its section .BTF (objcopy -O binary -j .BTF)",
                ));
            }
            _ => return Err(BtfError::NotBtf("it does not begin with the magic number")),
        }
        if bytes.get(2) != Some(&1) {
            return Err(BtfError::NotBtf("it is of another version than 1"));
        }
        let header = read_u32(&bytes, 4)? as usize;
        if header < MIN_HEADER_LEN {
            return Err(BtfError::Malformed("its header is too short"));
        }
        let section = |offset: usize| -> Result<std::ops::Range<usize>, BtfError> {
            let start = header.checked_add(read_u32(&bytes, offset)? as usize);
            let len = read_u32(&bytes, offset + 4)? as usize;
            let end = start.and_then(|start| start.checked_add(len));
            match (start, end) {
                (Some(start), Some(end)) if end <= bytes.len() => Ok(start..end),
                _ => Err(BtfError::Malformed("a section lies outside the file")),
            }
        };
        let (types, strings) = (section(8)?, section(16)?);
        if bytes[strings.clone()].first() != Some(&0) || bytes[strings.clone()].last() != Some(&0) {
            return Err(BtfError::Malformed("its strings do not begin and end with a zero"));
        }
        let mut table = Self {
            bytes,
            strings,
            types: Vec::new(),
        };
        let mut at = types.start;
        while at < types.end {
            let head = table.header_at(at)?;
            let end = head.trailer + head.kind.trailing_bytes(head.count);
            if end > types.end {
                return Err(BtfError::Malformed("a type reaches beyond the types"));
            }
            let at32 = u32::try_from(at).map_err(|_| BtfError::Malformed("it is larger than 4 GiB"))?;
            table.types.push(at32);
            at = end;
        }
        Ok(table)
    }

    pub(super) fn len(&self) -> usize {
        self.types.len()
    }

    fn header_at(&self, at: usize) -> Result<TypeHeader, BtfError> {
        let info = read_u32(&self.bytes, at + 4)?;
        let kind = Kind::of((info >> 24) & 0x1f).ok_or(BtfError::Malformed("a type of an unknown kind"))?;
        Ok(TypeHeader {
            kind,
            flag: info >> 31 == 1,
            count: (info & 0xffff) as usize,
            name: read_u32(&self.bytes, at)?,
            word: read_u32(&self.bytes, at + 8)?,
            trailer: at + 12,
        })
    }

    fn header(&self, id: TypeId) -> Result<TypeHeader, BtfError> {
        let index = (id as usize)
            .checked_sub(1)
            .ok_or(BtfError::Malformed("void where a type is needed"))?;
        let at = self
            .types
            .get(index)
            .ok_or(BtfError::Malformed("a type that is not there is referred to"))?;
        self.header_at(*at as usize)
    }

    /// Returns the string at an offset of the string section.
    fn string(&self, offset: u32) -> Result<&[u8], BtfError> {
        let strings = &self.bytes[self.strings.clone()];
        let tail = strings
            .get(offset as usize..)
            .ok_or(BtfError::Malformed("a name lies outside the strings"))?;
        let end = tail
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(BtfError::Malformed("a name without an end"))?;
        Ok(&tail[..end])
    }

    /// Iterates over the types of a name and kind.
    ///
    /// Names are not indexed, because only a few dozen of a hundred thousand types are looked up.
    pub(super) fn find_by_name(&self, name: &str, wanted: impl Fn(Kind) -> bool) -> impl Iterator<Item = TypeId> {
        let name = name.as_bytes().to_vec();
        (1..).zip(&self.types).filter_map(move |(id, &at)| {
            let head = self.header_at(at as usize).ok()?;
            (wanted(head.kind) && self.string(head.name).ok()? == name).then_some(id)
        })
    }

    /// Strips typedefs and qualifiers.
    pub(super) fn resolve(&self, id: TypeId) -> Result<TypeId, BtfError> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.header(id)? {
                TypeHeader {
                    kind: Kind::Typedef | Kind::Qualifier,
                    word,
                    ..
                } => id = word,
                _ => return Ok(id),
            }
        }
        Err(BtfError::Malformed("typedefs without an end"))
    }

    /// Strips typedefs, qualifiers and arrays. Void stays void.
    pub(super) fn element_type(&self, id: TypeId) -> Result<TypeId, BtfError> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            if id == 0 {
                return Ok(0);
            }
            match self.header(id)? {
                TypeHeader {
                    kind: Kind::Typedef | Kind::Qualifier,
                    word,
                    ..
                } => id = word,
                TypeHeader {
                    kind: Kind::Array,
                    trailer: rest,
                    ..
                } => id = read_u32(&self.bytes, rest)?,
                _ => return Ok(id),
            }
        }
        Err(BtfError::Malformed("typedefs without an end"))
    }

    /// Returns the type that a pointer points to.
    pub(super) fn pointee(&self, id: TypeId) -> Result<TypeId, BtfError> {
        match self.header(id)? {
            TypeHeader {
                kind: Kind::Ptr, word, ..
            } => Ok(word),
            _ => Err(BtfError::Malformed("a tracepoint that is no pointer")),
        }
    }

    /// Returns the number of parameters of a function prototype.
    pub(super) fn parameter_count(&self, id: TypeId) -> Result<usize, BtfError> {
        match self.header(id)? {
            TypeHeader {
                kind: Kind::FuncProto,
                count,
                ..
            } => Ok(count),
            _ => Err(BtfError::Malformed("a tracepoint that is no function")),
        }
    }

    /// Returns the size of a type, in bytes.
    pub(super) fn size_of(&self, id: TypeId, depth: u32) -> Result<u32, BtfError> {
        if depth > MAX_DEPTH {
            return Err(BtfError::Malformed("arrays without an end"));
        }
        let id = self.resolve(id)?;
        let head = self.header(id)?;
        match head.kind {
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => Ok(head.word),
            // Pointer size of the reading machine; kernels of another word size cannot be traced
            // from here.
            Kind::Ptr => Ok(size_of::<usize>() as u32),
            Kind::Array => {
                let element = self.size_of(read_u32(&self.bytes, head.trailer)?, depth + 1)?;
                let count = read_u32(&self.bytes, head.trailer + 8)?;
                element
                    .checked_mul(count)
                    .ok_or(BtfError::Malformed("an array larger than 4 GiB"))
            }
            _ => Err(BtfError::Malformed("a type without a size")),
        }
    }

    /// Returns the first bit and the width of an integer type; `None` for another type.
    pub(super) fn integer_bits(&self, id: TypeId) -> Result<Option<(u8, u8)>, BtfError> {
        let head = self.header(self.resolve(id)?)?;
        if head.kind != Kind::Int {
            return Ok(None);
        }
        let encoding = read_u32(&self.bytes, head.trailer)?;
        Ok(Some(((encoding >> 16) as u8, encoding as u8)))
    }

    /// Finds a member by name, also in anonymous members, with its offset from the start of `id`.
    pub(super) fn member(&self, id: TypeId, name: &str) -> Result<Option<Member>, BtfError> {
        // Work list of nested anonymous members. Its length and their depth are bounded, because
        // damaged input can nest without end.
        let mut left = vec![(id, 0_u64, 0_u32)];
        while let Some((id, base, depth)) = left.pop() {
            let id = if id == 0 { continue } else { self.resolve(id)? };
            let head = self.header(id)?;
            if !head.kind.is_composite() {
                continue;
            }
            for index in 0..head.count {
                let at = head.trailer + 12 * index;
                let (name_at, type_id, offset) = (
                    read_u32(&self.bytes, at)?,
                    read_u32(&self.bytes, at + 4)?,
                    read_u32(&self.bytes, at + 8)?,
                );
                let (bit_offset, bit_width) = if head.flag {
                    (offset & 0x00ff_ffff, (offset >> 24) as u8)
                } else {
                    (offset, 0)
                };
                let bit_offset = base + u64::from(bit_offset);
                let found = self.string(name_at)?;
                if found == name.as_bytes() {
                    return Ok(Some(Member {
                        type_id,
                        bit_offset,
                        bit_width,
                    }));
                }
                if found.is_empty() && depth < MAX_DEPTH && left.len() < 4096 {
                    left.push((type_id, bit_offset, depth + 1));
                }
            }
        }
        Ok(None)
    }

    /// Returns the value of an enumerator of any enum.
    pub(super) fn enumerator(&self, name: &str) -> Result<Option<i64>, BtfError> {
        for &at in &self.types {
            let head = self.header_at(at as usize)?;
            let words = match head.kind {
                Kind::Enum => 2,
                Kind::Enum64 => 3,
                _ => continue,
            };
            for index in 0..head.count {
                let at = head.trailer + 4 * words * index;
                if self.string(read_u32(&self.bytes, at)?)? != name.as_bytes() {
                    continue;
                }
                let low = read_u32(&self.bytes, at + 4)?;
                return Ok(Some(match (words, head.flag) {
                    (2, true) => i64::from(low.cast_signed()),
                    (2, false) => i64::from(low),
                    _ => (u64::from(read_u32(&self.bytes, at + 8)?) << 32 | u64::from(low)).cast_signed(),
                }));
            }
        }
        Ok(None)
    }
}
