//! Types in the layout of a BTF blob (include/uapi/linux/btf.h): reads all of them, and writes a
//! subset.
//!
//! This module knows only where names and type IDs are. Their meaning is left to
//! `zctrace_probes::layout::btf`, which is tested on the files written here.

use std::collections::HashMap;

/// A type ID; zero is void.
pub(super) type TypeId = u32;

pub(super) const PTR: u32 = 2;
pub(super) const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const ENUM: u32 = 6;
pub(super) const FWD: u32 = 7;
pub(super) const TYPEDEF: u32 = 8;
pub(super) const FUNC_PROTO: u32 = 13;
pub(super) const ENUM64: u32 = 19;

/// `BTF_MAGIC` in the byte order of a little-endian machine.
const MAGIC: &[u8] = &[0x9f, 0xeb, 1];
const HEADER: usize = 24;

/// One type: its own name as text, the names in its elements still as string offsets.
#[derive(Clone, Debug)]
pub(super) struct Type {
    pub(super) name: String,
    /// Kind in bits 24 to 28, with the flag above it and the number of elements below.
    pub(super) info: u32,
    /// Size, or the ID of the type that is referred to.
    pub(super) word: u32,
    /// Words after the first three, in groups as described by [`stride`](Self::stride).
    pub(super) rest: Vec<u32>,
    /// Names of the elements, for kinds whose elements have names.
    pub(super) names: Vec<String>,
}

impl Type {
    pub(super) fn kind(&self) -> u32 {
        kind(self.info)
    }

    /// Returns whether `word` is a type ID.
    fn refers(&self) -> bool {
        matches!(self.kind(), PTR | TYPEDEF | 9..=14 | 17 | 18)
    }

    /// Returns the number of words of an element, and the positions of its name and its type ID.
    fn stride(&self) -> (usize, Option<usize>, Option<usize>) {
        stride(self.kind())
    }

    /// Returns the IDs of the types that this one refers to.
    pub(super) fn references(&self) -> Vec<TypeId> {
        let mut found = Vec::new();
        if self.refers() {
            found.push(self.word);
        }
        if self.kind() == ARRAY {
            found.extend(&self.rest[..2]);
        }
        if let (words, _, Some(at)) = self.stride() {
            found.extend(self.rest.chunks_exact(words).map(|element| element[at]));
        }
        found
    }

    /// Replaces the type IDs that it refers to.
    fn renumber(&mut self, new: impl Fn(TypeId) -> TypeId) {
        if self.refers() {
            self.word = new(self.word);
        }
        if self.kind() == ARRAY {
            self.rest[..2].iter_mut().for_each(|id| *id = new(*id));
        }
        if let (words, _, Some(at)) = self.stride() {
            self.rest
                .chunks_exact_mut(words)
                .for_each(|element| element[at] = new(element[at]));
        }
    }
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn stride(kind: u32) -> (usize, Option<usize>, Option<usize>) {
    match kind {
        STRUCT | UNION => (3, Some(0), Some(1)),
        ENUM => (2, Some(0), None),
        ENUM64 => (3, Some(0), None),
        FUNC_PROTO => (2, Some(0), Some(1)),
        // BTF_KIND_DATASEC.
        15 => (3, None, Some(0)),
        _ => (1, None, None),
    }
}

/// Returns the number of words after the first three.
fn rest(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    Some(match kind(info) {
        PTR | FWD..=12 | 16 | 18 => 0,
        // BTF_KIND_INT, _VAR and _DECL_TAG.
        1 | 14 | 17 => 1,
        ARRAY => 3,
        STRUCT | UNION | 15 | ENUM64 => 3 * count,
        ENUM | FUNC_PROTO => 2 * count,
        _ => return None,
    })
}

/// Parses all types of a blob; the first one has ID 1.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Type>, String> {
    let word = |at: usize| -> Result<u32, String> {
        let word = bytes.get(at..at + 4).ok_or("the BTF is cut short")?;
        Ok(u32::from_le_bytes(word.try_into().expect("four bytes")))
    };
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin as little-endian BTF of version 1 does".to_owned());
    }
    let header = word(4)? as usize;
    let start = header + word(8)? as usize;
    let end = start + word(12)? as usize;
    let strings = header + word(16)? as usize;
    let string = |offset: u32| -> Result<String, String> {
        let tail = bytes
            .get(strings + offset as usize..)
            .ok_or("a name lies outside the BTF")?;
        let len = tail.iter().position(|&byte| byte == 0).ok_or("a name has no end")?;
        String::from_utf8(tail[..len].to_vec()).map_err(|_| "a name is no text".to_owned())
    };
    let mut types = Vec::new();
    let mut at = start;
    while at < end {
        let info = word(at + 4)?;
        let count = rest(info).ok_or_else(|| format!("a type of the unknown kind {}", kind(info)))?;
        let rest = (0..count)
            .map(|index| word(at + 12 + 4 * index))
            .collect::<Result<Vec<_>, _>>()?;
        let names = match stride(kind(info)) {
            (words, Some(name), _) => {
                let names = rest.chunks_exact(words).map(|element| string(element[name]));
                names.collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        types.push(Type {
            name: string(word(at)?)?,
            info,
            word: word(at + 8)?,
            rest,
            names,
        });
        at += 12 + 4 * count;
    }
    Ok(types)
}

/// Writes a blob of these types, each with its old ID; `new` maps old IDs to new ones.
pub(super) fn write(types: Vec<Type>, new: impl Fn(TypeId) -> TypeId) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut words: Vec<u32> = Vec::new();
    for mut a_type in types {
        a_type.renumber(&new);
        if let (stride, Some(at), _) = a_type.stride() {
            for (element, name) in a_type.rest.chunks_exact_mut(stride).zip(&a_type.names) {
                element[at] = strings.offset(name);
            }
        }
        words.extend([strings.offset(&a_type.name), a_type.info, a_type.word]);
        words.extend(a_type.rest);
    }
    let strings = strings.bytes();
    let len = 4 * words.len() as u32;
    let mut bytes = [MAGIC, &[0]].concat();
    for word in [HEADER as u32, 0, len, len, strings.len() as u32].iter().chain(&words) {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(strings);
    bytes
}

/// A string table in which each string occurs once.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Strings {
    fn offset(&mut self, text: &str) -> u32 {
        // The first string is the empty one.
        if text.is_empty() {
            return 0;
        }
        if let Some(at) = self.known.get(text) {
            return *at;
        }
        let at = self.bytes.len() as u32 + 1;
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
        self.known.insert(text.to_owned(), at);
        at
    }

    fn bytes(self) -> Vec<u8> {
        [vec![0], self.bytes].concat()
    }
}
