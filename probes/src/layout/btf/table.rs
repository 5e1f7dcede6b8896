//! The types of a BTF blob, as they are laid out there (include/uapi/linux/btf.h).

use super::error::BtfError;

/// The number of a type; zero is void.
pub(super) type TypeId = u32;

/// How many typedefs, qualifiers or nested anonymous members are followed: the kernel has a dozen at most, damaged input
/// has loops.
const DEEPEST: u32 = 64;

/// Every BTF blob begins with this (`BTF_MAGIC`), in the byte order of its machine.
const MAGIC: u16 = 0xeb9f;

/// The header as of version 1.
const HEADER: usize = 24;

/// What a type is.
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
    /// const, volatile, restrict, and type tags: nothing but another name for what they stand before.
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

    /// Bytes that follow the three common words, for `count` elements.
    const fn trailer(self, count: usize) -> usize {
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => 12 * count,
            Self::Enum | Self::FuncProto => 8 * count,
            Self::Ptr | Self::Fwd | Self::Typedef | Self::Qualifier | Self::Func | Self::Float => 0,
        }
    }
}

/// The common words of a type.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: Kind,
    /// For structs: offsets hold the width of bitfields, too. For enums: values are signed.
    flag: bool,
    count: usize,
    name: u32,
    /// The size, or the type that is referred to.
    word: u32,
    /// Where what follows the common words begins.
    rest: usize,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) type_id: TypeId,
    pub(super) bit_offset: u64,
    /// Zero if it is no bitfield.
    pub(super) bit_width: u8,
}

/// All types of a blob.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Where each type begins; the first has number 1.
    types: Vec<u32>,
}

/// Reads a word that is there, or says that the blob is cut short.
fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let word = at
        .checked_add(4)
        .and_then(|end| bytes.get(at..end))
        .and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes)
        .ok_or(BtfError::Malformed("it ends within a type"))
}

impl Table {
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
        let header = word(&bytes, 4)? as usize;
        if header < HEADER {
            return Err(BtfError::Malformed("its header is too short"));
        }
        let section = |offset: usize| -> Result<std::ops::Range<usize>, BtfError> {
            let start = header.checked_add(word(&bytes, offset)? as usize);
            let len = word(&bytes, offset + 4)? as usize;
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
            let head = table.head_at(at)?;
            let end = head.rest + head.kind.trailer(head.count);
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

    fn head_at(&self, at: usize) -> Result<Head, BtfError> {
        let info = word(&self.bytes, at + 4)?;
        let kind = Kind::of((info >> 24) & 0x1f).ok_or(BtfError::Malformed("a type of an unknown kind"))?;
        Ok(Head {
            kind,
            flag: info >> 31 == 1,
            count: (info & 0xffff) as usize,
            name: word(&self.bytes, at)?,
            word: word(&self.bytes, at + 8)?,
            rest: at + 12,
        })
    }

    fn head(&self, id: TypeId) -> Result<Head, BtfError> {
        let index = (id as usize)
            .checked_sub(1)
            .ok_or(BtfError::Malformed("void where a type is needed"))?;
        let at = self
            .types
            .get(index)
            .ok_or(BtfError::Malformed("a type that is not there is referred to"))?;
        self.head_at(*at as usize)
    }

    /// The string at an offset of the strings.
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

    /// The types of a name and kind.
    ///
    /// Names are not kept in a table of their own: a few dozen are asked for, of a hundred thousand types.
    pub(super) fn named(&self, name: &str, wanted: impl Fn(Kind) -> bool) -> impl Iterator<Item = TypeId> {
        let name = name.as_bytes().to_vec();
        (1..).zip(&self.types).filter_map(move |(id, &at)| {
            let head = self.head_at(at as usize).ok()?;
            (wanted(head.kind) && self.string(head.name).ok()? == name).then_some(id)
        })
    }

    /// What a type is without its typedefs and qualifiers.
    pub(super) fn resolve(&self, id: TypeId) -> Result<TypeId, BtfError> {
        let mut id = id;
        for _ in 0..DEEPEST {
            match self.head(id)? {
                Head {
                    kind: Kind::Typedef | Kind::Qualifier,
                    word,
                    ..
                } => id = word,
                _ => return Ok(id),
            }
        }
        Err(BtfError::Malformed("typedefs without an end"))
    }

    /// What a type is without its typedefs, and of an array its elements: void stays void.
    pub(super) fn element(&self, id: TypeId) -> Result<TypeId, BtfError> {
        let mut id = id;
        for _ in 0..DEEPEST {
            if id == 0 {
                return Ok(0);
            }
            match self.head(id)? {
                Head {
                    kind: Kind::Typedef | Kind::Qualifier,
                    word,
                    ..
                } => id = word,
                Head {
                    kind: Kind::Array,
                    rest,
                    ..
                } => id = word(&self.bytes, rest)?,
                _ => return Ok(id),
            }
        }
        Err(BtfError::Malformed("typedefs without an end"))
    }

    /// What a pointer points to.
    pub(super) fn points_to(&self, id: TypeId) -> Result<TypeId, BtfError> {
        match self.head(id)? {
            Head {
                kind: Kind::Ptr, word, ..
            } => Ok(word),
            _ => Err(BtfError::Malformed("a tracepoint that is no pointer")),
        }
    }

    /// How many parameters a function has.
    pub(super) fn parameters(&self, id: TypeId) -> Result<usize, BtfError> {
        match self.head(id)? {
            Head {
                kind: Kind::FuncProto,
                count,
                ..
            } => Ok(count),
            _ => Err(BtfError::Malformed("a tracepoint that is no function")),
        }
    }

    /// The size of a type in bytes.
    pub(super) fn size(&self, id: TypeId, depth: u32) -> Result<u32, BtfError> {
        if depth > DEEPEST {
            return Err(BtfError::Malformed("arrays without an end"));
        }
        let id = self.resolve(id)?;
        let head = self.head(id)?;
        match head.kind {
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => Ok(head.word),
            // Of the machine that reads: kernels of other word sizes are not traced from here.
            Kind::Ptr => Ok(size_of::<usize>() as u32),
            Kind::Array => {
                let element = self.size(word(&self.bytes, head.rest)?, depth + 1)?;
                let count = word(&self.bytes, head.rest + 8)?;
                element
                    .checked_mul(count)
                    .ok_or(BtfError::Malformed("an array larger than 4 GiB"))
            }
            _ => Err(BtfError::Malformed("a type without a size")),
        }
    }

    /// The first bit and the width of an integer, `None` if the type is none.
    pub(super) fn integer_bits(&self, id: TypeId) -> Result<Option<(u8, u8)>, BtfError> {
        let head = self.head(self.resolve(id)?)?;
        if head.kind != Kind::Int {
            return Ok(None);
        }
        let encoding = word(&self.bytes, head.rest)?;
        Ok(Some(((encoding >> 16) as u8, encoding as u8)))
    }

    /// A member by name, looked for in anonymous members, too, with its offset from the start of `id`.
    pub(super) fn member(&self, id: TypeId, name: &str) -> Result<Option<Member>, BtfError> {
        // Breadth first, over what is left to look at; damaged input could nest without end, so both are bounded.
        let mut left = vec![(id, 0_u64, 0_u32)];
        while let Some((id, base, depth)) = left.pop() {
            let id = if id == 0 { continue } else { self.resolve(id)? };
            let head = self.head(id)?;
            if !head.kind.is_composite() {
                continue;
            }
            for index in 0..head.count {
                let at = head.rest + 12 * index;
                let (name_at, type_id, offset) = (
                    word(&self.bytes, at)?,
                    word(&self.bytes, at + 4)?,
                    word(&self.bytes, at + 8)?,
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
                if found.is_empty() && depth < DEEPEST && left.len() < 4096 {
                    left.push((type_id, bit_offset, depth + 1));
                }
            }
        }
        Ok(None)
    }

    /// The value of an enumerator of any enum.
    pub(super) fn enumerator(&self, name: &str) -> Result<Option<i64>, BtfError> {
        for &at in &self.types {
            let head = self.head_at(at as usize)?;
            let words = match head.kind {
                Kind::Enum => 2,
                Kind::Enum64 => 3,
                _ => continue,
            };
            for index in 0..head.count {
                let at = head.rest + 4 * words * index;
                if self.string(word(&self.bytes, at)?)? != name.as_bytes() {
                    continue;
                }
                let low = word(&self.bytes, at + 4)?;
                return Ok(Some(match (words, head.flag) {
                    (2, true) => i64::from(low.cast_signed()),
                    (2, false) => i64::from(low),
                    _ => (u64::from(word(&self.bytes, at + 8)?) << 32 | u64::from(low)).cast_signed(),
                }));
            }
        }
        Ok(None)
    }
}
