//! In which function of a file of code a place lies, by the symbols of the file (elf(5)).
//!
//! Files are those of traced programs, so they may hold anything: what is read is bounded, what makes no sense is no symbol.

use std::fs::File;
use std::os::unix::fs::FileExt;

use object::LittleEndian as Le;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, FileHeader64, PT_LOAD, ProgramHeader64, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC,
    STT_GNU_IFUNC, SectionHeader64, Sym64,
};
use object::pod::{self, Pod};

/// Bytes of headers that are read: far more than any linker makes (`e_shnum` of 64 bytes each).
const MOST_HEADERS: u64 = 4 << 20;
/// Bytes of a table of symbols that are read: a million of them.
const MOST_SYMBOLS: u64 = 24 << 20;
/// Bytes of names that are read.
const MOST_NAMES: u64 = 64 << 20;
/// Bytes of a name that are told.
const LONGEST: usize = 512;

/// A function: where it begins, how long it is (0 if nobody says), and where its name is.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: u64,
    len: u64,
    name: u32,
}

/// The functions of one file.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// What of the file is mapped where: offset, bytes, address.
    segments: Vec<(u64, u64, u64)>,
    /// By where they begin.
    all: Vec<Function>,
    names: Vec<u8>,
}

impl Functions {
    /// Reads them. `None` if the file has none, or is none of code for 64 bits.
    pub(super) fn of(file: &File) -> Option<Self> {
        let header = Pieces::read(file, 0, size_of::<FileHeader64<Le>>() as u64, MOST_HEADERS)?;
        let header: &FileHeader64<Le> = header.all()?.first()?;
        let ident = &header.e_ident;
        if ident.magic != *b"\x7fELF" || ident.class != ELFCLASS64 || ident.data != ELFDATA2LSB {
            return None;
        }
        let len = size_of::<ProgramHeader64<Le>>() as u64 * u64::from(header.e_phnum.get(Le));
        let segments = Pieces::read(file, header.e_phoff.get(Le), len, MOST_HEADERS)?;
        let segments: &[ProgramHeader64<Le>] = segments.all()?;
        let mapped = segments.iter().filter(|one| one.p_type.get(Le) == PT_LOAD);
        let segments = mapped.map(|one| (one.p_offset.get(Le), one.p_filesz.get(Le), one.p_vaddr.get(Le)));
        let segments = segments.collect();
        let len = size_of::<SectionHeader64<Le>>() as u64 * u64::from(header.e_shnum.get(Le));
        let sections = Pieces::read(file, header.e_shoff.get(Le), len, MOST_HEADERS)?;
        let sections: &[SectionHeader64<Le>] = sections.all()?;
        // What is stripped keeps the symbols for the dynamic linker.
        let of = |kind| sections.iter().find(|section| section.sh_type.get(Le) == kind);
        let symbols = of(SHT_SYMTAB).or_else(|| of(SHT_DYNSYM))?;
        let names = sections.get(symbols.sh_link.get(Le) as usize)?;
        let names = Pieces::read(file, names.sh_offset.get(Le), names.sh_size.get(Le), MOST_NAMES)?;
        let symbols = Pieces::read(file, symbols.sh_offset.get(Le), symbols.sh_size.get(Le), MOST_SYMBOLS)?;
        let symbols: &[Sym64<Le>] = symbols.all()?;
        let is_function = |symbol: &&Sym64<Le>| {
            matches!(symbol.st_info & 0xf, STT_FUNC | STT_GNU_IFUNC) && symbol.st_shndx.get(Le) != SHN_UNDEF
        };
        let of = |symbol: &Sym64<Le>| Function {
            start: symbol.st_value.get(Le),
            len: symbol.st_size.get(Le),
            name: symbol.st_name.get(Le),
        };
        let mut all: Vec<Function> = symbols.iter().filter(is_function).map(of).collect();
        // Of several names of one place the longest stretch comes last, where it is looked for first.
        all.sort_by_key(|function| (function.start, function.len));
        Some(Self {
            segments,
            all,
            names: names.bytes().to_vec(),
        })
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.names.len() + size_of_val(&*self.all)
    }

    /// The function at an offset in the file, and how far into it that is.
    pub(super) fn at(&self, offset: u64) -> Option<String> {
        let (from, _, address) = *self
            .segments
            .iter()
            .find(|(from, len, _)| offset.checked_sub(*from).is_some_and(|into| into < *len))?;
        let address = (offset - from).checked_add(address)?;
        let after = self.all.partition_point(|function| function.start <= address);
        let function = self.all[..after].last()?;
        let into = address - function.start;
        // One without a length, as assemblers make them, ends at the next; one with a length ends where it says. The address is
        // that after the call, which may be the last of its function.
        (function.len == 0 || into <= function.len).then_some(())?;
        let name = self.names.get(function.name as usize..)?;
        let name = &name[..name.iter().position(|&byte| byte == 0)?.min(LONGEST)];
        (!name.is_empty()).then(|| format!("{}+{into:#x}", String::from_utf8_lossy(name)))
    }
}

/// A stretch of a file, where integers of any size may lie.
struct Pieces {
    words: Vec<u64>,
    len: usize,
}

impl Pieces {
    /// Reads it, unless it is longer than allowed or not there.
    fn read(file: &File, at: u64, len: u64, most: u64) -> Option<Self> {
        if len > most {
            return None;
        }
        let len = len as usize;
        let mut words = vec![0_u64; len.div_ceil(8)];
        file.read_exact_at(&mut pod::bytes_of_slice_mut(&mut words)[..len], at)
            .ok()?;
        Some(Self { words, len })
    }

    fn bytes(&self) -> &[u8] {
        &pod::bytes_of_slice(&self.words)[..self.len]
    }

    /// As many as there are; what is left over is no entry.
    fn all<T: Pod>(&self) -> Option<&[T]> {
        let (all, _) = pod::slice_from_bytes(self.bytes(), self.len / size_of::<T>()).ok()?;
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file of 64-bit code with the functions `one` (0x1010, 32 bytes) and `two` (0x1040, no length), mapped from offset 0x100.
    fn program() -> Vec<u8> {
        let names = b"\0one\0two\0";
        let mut symbols = Vec::new();
        for (name, info, section, start, len) in [
            (0_u32, 0_u8, 0_u16, 0_u64, 0_u64),
            (5, 2, 1, 0x1040, 0),
            (1, 2, 1, 0x1010, 32),
            (1, 1, 1, 0x1050, 32), // data
            (1, 2, 0, 0x1060, 32), // of another file
        ] {
            symbols.extend(name.to_le_bytes());
            symbols.extend([info, 0]);
            symbols.extend(section.to_le_bytes());
            symbols.extend(start.to_le_bytes());
            symbols.extend(len.to_le_bytes());
        }
        let (segment, section) = (64_u64, 64_u64 + 56);
        let data = section + 3 * 64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
        let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
        let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
        half(&mut file, 3);
        half(&mut file, 62);
        word(&mut file, 1);
        for value in [0, segment, section] {
            long(&mut file, value);
        }
        word(&mut file, 0);
        for value in [64, 56, 1, 64, 3, 0] {
            half(&mut file, value);
        }
        word(&mut file, PT_LOAD);
        word(&mut file, 5);
        for value in [0x100, 0x1000, 0x1000, 0x1000, 0x1000, 0x1000] {
            long(&mut file, value);
        }
        for (kind, at, len, link) in [
            (0, 0, 0, 0),
            (SHT_SYMTAB, data, symbols.len() as u64, 2),
            (3, data + symbols.len() as u64, names.len() as u64, 0),
        ] {
            word(&mut file, 0);
            word(&mut file, kind);
            for value in [0, 0, at, len] {
                long(&mut file, value);
            }
            word(&mut file, link);
            word(&mut file, 0);
            long(&mut file, 0);
            long(&mut file, 0);
        }
        file.extend(symbols);
        file.extend(names);
        file
    }

    fn functions(bytes: &[u8]) -> Option<Functions> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("write");
        Functions::of(&file)
    }

    #[test]
    fn a_place_is_in_the_function_that_begins_before_it_and_has_not_ended() {
        let functions = functions(&program()).expect("functions");
        // Offset 0x100 is mapped at 0x1000.
        for (offset, expected) in [
            (0x0ff, None),
            (0x10f, None),
            (0x110, Some("one+0x0")),
            (0x12f, Some("one+0x1f")),
            (0x130, Some("one+0x20")),
            (0x131, None),
            (0x140, Some("two+0x0")),
            (0x200, Some("two+0xc0")),
            (0x1100, None),
            (u64::MAX, None),
        ] {
            assert_eq!(functions.at(offset).as_deref(), expected, "{offset:#x}");
        }
    }

    #[test]
    fn damaged_files_do_no_harm() {
        let program = program();
        let ask = |bytes: &[u8]| {
            if let Some(functions) = functions(bytes) {
                for offset in [0, 0x110, 0x140, 0x1000, u64::MAX] {
                    let _ = functions.at(offset);
                }
            }
        };
        for len in 0..program.len() {
            ask(&program[..len]);
        }
        for at in 0..program.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = program.clone();
                damaged[at] = value;
                ask(&damaged);
                // Large numbers are of several bytes.
                damaged[at..].iter_mut().take(8).for_each(|byte| *byte = value);
                ask(&damaged);
            }
        }
    }

    #[test]
    fn a_file_that_claims_to_be_huge_is_not_read() {
        let mut file = tempfile::tempfile().expect("a file");
        let mut bytes = program();
        // The length of the table of symbols, in the second header of a section.
        let at = 64 + 56 + 64 + 32;
        bytes[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        file.write_all(&bytes).expect("write");
        file.set_len(1 << 41).expect("a hole");
        assert!(Functions::of(&file).is_none());
    }

    #[test]
    fn this_very_test_has_a_name() {
        let own = File::open(std::env::current_exe().expect("its path")).expect("open");
        let functions = Functions::of(&own).expect("functions");
        assert!(functions.weight() > 1000);
        let name = |function: &Function| {
            let name = &functions.names[function.name as usize..];
            name.split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
        };
        let wanted = "this_very_test_has_a_name";
        let mut names = functions.all.iter().filter_map(name);
        assert!(names.any(|name| String::from_utf8_lossy(&name).contains(wanted)));
    }
}
