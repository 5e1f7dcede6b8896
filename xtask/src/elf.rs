//! The parts of ELF that the tasks need (System V ABI, chapter 4): sections and symbols of 64-bit
//! little-endian files.

/// A section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) executable: bool,
    /// Content; empty if the section occupies no space in the file.
    pub(crate) content: &'a [u8],
}

/// A function symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// Index of its section.
    pub(crate) section: usize,
    pub(crate) size: u64,
    /// True for a symbol that is visible to other objects.
    pub(crate) visible: bool,
}

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) functions: Vec<Function<'a>>,
}

/// `ELFCLASS64` and `ELFDATA2LSB`, after the magic number.
const IDENT: &[u8] = b"\x7fELF\x02\x01";
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const SHT_SYMTAB: u32 = 2;
const SHT_NOBITS: u32 = 8;
const SHF_EXECINSTR: u64 = 4;
const STT_FUNC: u8 = 2;

impl<'a> Elf<'a> {
    /// Parses a file, or returns why it is not such an ELF file.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if !bytes.starts_with(IDENT) {
            return Err("it is no 64-bit little-endian ELF file");
        }
        let table = number(bytes, 0x28, 8).ok_or(SHORT)? as usize;
        let count = number(bytes, 0x3c, 2).ok_or(SHORT)? as usize;
        let names = number(bytes, 0x3e, 2).ok_or(SHORT)? as usize;
        let headers: Vec<&[u8]> = (0..count)
            .map(|index| slice(bytes, table.saturating_add(index * SECTION), SECTION).ok_or(SHORT))
            .collect::<Result<_, _>>()?;
        let kind = |header: &[u8]| number(header, 4, 4).unwrap_or(0) as u32;
        let content = |header: &[u8]| -> Result<&'a [u8], &'static str> {
            if kind(header) == SHT_NOBITS {
                return Ok(&[]);
            }
            let at = number(header, 0x18, 8).ok_or(SHORT)?;
            let len = number(header, 0x20, 8).ok_or(SHORT)?;
            slice(bytes, at as usize, len as usize).ok_or("a section lies outside the file")
        };
        let names = content(headers.get(names).ok_or("its sections have no names")?)?;
        let mut elf = Self {
            sections: Vec::new(),
            functions: Vec::new(),
        };
        for header in &headers {
            elf.sections.push(Section {
                name: string(names, number(header, 0, 4).ok_or(SHORT)? as usize)?,
                executable: number(header, 8, 8).ok_or(SHORT)? & SHF_EXECINSTR != 0,
                content: content(header)?,
            });
            if kind(header) == SHT_SYMTAB {
                let strings = number(header, 0x28, 4).ok_or(SHORT)? as usize;
                let strings = content(headers.get(strings).ok_or("its symbols have no names")?)?;
                elf.functions.extend(functions(content(header)?, strings)?);
            }
        }
        Ok(elf)
    }

    /// Returns the content of a section.
    pub(crate) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let section = self.sections.iter().find(|section| section.name == name)?;
        Some(section.content)
    }
}

const SHORT: &str = "the file is cut short";

fn functions<'a>(symbols: &'a [u8], strings: &'a [u8]) -> Result<Vec<Function<'a>>, &'static str> {
    let mut found = Vec::new();
    for symbol in symbols.chunks_exact(SYMBOL) {
        let info = symbol[4];
        if info & 0xf == STT_FUNC {
            found.push(Function {
                name: string(strings, number(symbol, 0, 4).ok_or(SHORT)? as usize)?,
                section: number(symbol, 6, 2).ok_or(SHORT)? as usize,
                size: number(symbol, 16, 8).ok_or(SHORT)?,
                // STB_LOCAL is 0; STV_DEFAULT is 0.
                visible: info >> 4 != 0 && symbol[5] % 4 == 0,
            });
        }
    }
    Ok(found)
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// Reads a little-endian number of `len` bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let digits = slice(bytes, at, len)?;
    Some(
        digits
            .iter()
            .rev()
            .fold(0, |number, digit| number << 8 | u64::from(*digit)),
    )
}

fn string(strings: &[u8], at: usize) -> Result<&str, &'static str> {
    let tail = strings.get(at..).ok_or("a name lies outside the names")?;
    let end = tail.iter().position(|&byte| byte == 0).ok_or("a name has no end")?;
    std::str::from_utf8(&tail[..end]).map_err(|_| "a name is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a file with a section `.data` of three bytes.
    fn sample() -> Vec<u8> {
        let names = b"\0.data\0.names\0";
        let (data, table) = (64 + names.len(), 64 + names.len() + 3);
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(IDENT);
        bytes[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        bytes[0x3c] = 3;
        bytes[0x3e] = 2;
        bytes.extend(names);
        bytes.extend(b"abc");
        for (name, kind, at, len) in [(0, 0, 0, 0), (1, 1, data, 3), (7, 3, 64, names.len())] {
            let mut header = [0; SECTION];
            header[0] = name;
            header[4] = kind;
            header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(len as u64).to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn sections_are_found_by_name() {
        let bytes = sample();
        let elf = Elf::parse(&bytes).expect("a file");
        assert_eq!(elf.section(".data"), Some(&b"abc"[..]));
        assert_eq!(elf.section(".text"), None);
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let bytes = sample();
        for end in 0..bytes.len() {
            assert!(Elf::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
