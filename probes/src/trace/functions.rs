//! Functions of an object file, from its symbol table (elf(5)).
//!
//! The files are those of traced programs, so they may contain anything. The amount that is read is
//! bounded, and inconsistent data yields no symbol.

use std::fs::File;
use std::os::unix::fs::FileExt;

use object::LittleEndian as Le;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, FileHeader64, PT_LOAD, ProgramHeader64, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC,
    STT_GNU_IFUNC, SectionHeader64, Sym64,
};
use object::pod::{self, Pod};

/// Limit on headers, in bytes: far more than any linker writes.
const MAX_HEADER_BYTES: u64 = 4 << 20;
/// Limit on the symbol table, in bytes: a million entries.
const MAX_SYMBOL_BYTES: u64 = 24 << 20;
/// Limit on the string table, in bytes.
const MAX_NAME_BYTES: u64 = 64 << 20;
/// Limit on the length of a reported name, in bytes.
const MAX_NAME_LEN: usize = 512;

/// Function: address, length (0 if unknown) and offset of its name.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: u64,
    len: u64,
    name: u32,
}

/// Functions of one file.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// Loadable segments as (file offset, length, address).
    segments: Vec<(u64, u64, u64)>,
    /// Functions by address.
    by_address: Vec<Function>,
    names: Vec<u8>,
}

impl Functions {
    /// Reads the functions of a file; `None` if it has no symbols or is not a 64-bit little-endian
    /// ELF file.
    pub(super) fn read(file: &File) -> Option<Self> {
        let header = AlignedBytes::read(file, 0, size_of::<FileHeader64<Le>>() as u64, MAX_HEADER_BYTES)?;
        let header: &FileHeader64<Le> = header.as_slice_of()?.first()?;
        let ident = &header.e_ident;
        if ident.magic != *b"\x7fELF" || ident.class != ELFCLASS64 || ident.data != ELFDATA2LSB {
            return None;
        }
        let len = size_of::<ProgramHeader64<Le>>() as u64 * u64::from(header.e_phnum.get(Le));
        let segments = AlignedBytes::read(file, header.e_phoff.get(Le), len, MAX_HEADER_BYTES)?;
        let segments: &[ProgramHeader64<Le>] = segments.as_slice_of()?;
        let mapped = segments.iter().filter(|one| one.p_type.get(Le) == PT_LOAD);
        let segments = mapped.map(|one| (one.p_offset.get(Le), one.p_filesz.get(Le), one.p_vaddr.get(Le)));
        let segments = segments.collect();
        let len = size_of::<SectionHeader64<Le>>() as u64 * u64::from(header.e_shnum.get(Le));
        let sections = AlignedBytes::read(file, header.e_shoff.get(Le), len, MAX_HEADER_BYTES)?;
        let sections: &[SectionHeader64<Le>] = sections.as_slice_of()?;
        // A stripped file keeps the symbols for the dynamic linker.
        let of = |kind| sections.iter().find(|section| section.sh_type.get(Le) == kind);
        let symbols = of(SHT_SYMTAB).or_else(|| of(SHT_DYNSYM))?;
        let names = sections.get(symbols.sh_link.get(Le) as usize)?;
        let names = AlignedBytes::read(file, names.sh_offset.get(Le), names.sh_size.get(Le), MAX_NAME_BYTES)?;
        let symbols = AlignedBytes::read(
            file,
            symbols.sh_offset.get(Le),
            symbols.sh_size.get(Le),
            MAX_SYMBOL_BYTES,
        )?;
        let symbols: &[Sym64<Le>] = symbols.as_slice_of()?;
        let is_function = |symbol: &&Sym64<Le>| {
            matches!(symbol.st_info & 0xf, STT_FUNC | STT_GNU_IFUNC) && symbol.st_shndx.get(Le) != SHN_UNDEF
        };
        let of = |symbol: &Sym64<Le>| Function {
            start: symbol.st_value.get(Le),
            len: symbol.st_size.get(Le),
            name: symbol.st_name.get(Le),
        };
        let mut functions: Vec<Function> = symbols.iter().filter(is_function).map(of).collect();
        // Of several symbols at one address the longest comes last, where the lookup begins.
        functions.sort_by_key(|function| (function.start, function.len));
        Some(Self {
            segments,
            by_address: functions,
            names: names.bytes().to_vec(),
        })
    }

    /// Returns the approximate heap memory in use, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.names.len() + size_of_val(&*self.by_address)
    }

    /// Returns the function at a file offset as `name+offset`.
    pub(super) fn lookup(&self, offset: u64) -> Option<String> {
        let (from, _, address) = *self
            .segments
            .iter()
            .find(|(from, len, _)| offset.checked_sub(*from).is_some_and(|into| into < *len))?;
        let address = (offset - from).checked_add(address)?;
        let after = self.by_address.partition_point(|function| function.start <= address);
        let function = self.by_address[..after].last()?;
        let into = address - function.start;
        // A function without a length, as assemblers emit them, extends to the next one. The end is
        // included because the address is the one after the call, and a call can be the last
        // instruction of its function.
        (function.len == 0 || into <= function.len).then_some(())?;
        let name = self.names.get(function.name as usize..)?;
        let name = &name[..name.iter().position(|&byte| byte == 0)?.min(MAX_NAME_LEN)];
        (!name.is_empty()).then(|| format!("{}+{into:#x}", String::from_utf8_lossy(name)))
    }
}

/// Bytes of a file, aligned for integers of any size.
struct AlignedBytes {
    words: Vec<u64>,
    len: usize,
}

impl AlignedBytes {
    /// Reads a range of a file; `None` if it exceeds the limit or the file.
    fn read(file: &File, at: u64, len: u64, max_len: u64) -> Option<Self> {
        if len > max_len {
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

    /// Returns the bytes as entries, without an incomplete last one.
    fn as_slice_of<T: Pod>(&self) -> Option<&[T]> {
        let (all, _) = pod::slice_from_bytes(self.bytes(), self.len / size_of::<T>()).ok()?;
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Builds a 64-bit object file with the functions `one` (0x1010, 32 bytes) and `two` (0x1040,
    /// no length), mapped from file offset 0x100.
    fn program() -> Vec<u8> {
        let names = b"\0one\0two\0";
        let mut symbols = Vec::new();
        for (name, info, section, start, len) in [
            (0_u32, 0_u8, 0_u16, 0_u64, 0_u64),
            (5, 2, 1, 0x1040, 0),
            (1, 2, 1, 0x1010, 32),
            (1, 1, 1, 0x1050, 32), // data symbol
            (1, 2, 0, 0x1060, 32), // undefined symbol
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
        Functions::read(&file)
    }

    #[test]
    fn call_site_is_in_the_function_that_encloses_it() {
        let functions = functions(&program()).expect("functions");
        // File offset 0x100 is mapped at 0x1000.
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
            assert_eq!(functions.lookup(offset).as_deref(), expected, "{offset:#x}");
        }
    }

    #[test]
    fn damaged_files_are_harmless() {
        let program = program();
        let ask = |bytes: &[u8]| {
            if let Some(functions) = functions(bytes) {
                for offset in [0, 0x110, 0x140, 0x1000, u64::MAX] {
                    let _ = functions.lookup(offset);
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
                // Damage whole integers too, which have several bytes.
                damaged[at..].iter_mut().take(8).for_each(|byte| *byte = value);
                ask(&damaged);
            }
        }
    }

    #[test]
    fn file_with_a_huge_table_is_not_read() {
        let mut file = tempfile::tempfile().expect("a file");
        let mut bytes = program();
        // Offset of the length of the symbol table, in the second section header.
        let at = 64 + 56 + 64 + 32;
        bytes[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        file.write_all(&bytes).expect("write");
        file.set_len(1 << 41).expect("a hole");
        assert!(Functions::read(&file).is_none());
    }

    #[test]
    fn this_test_has_a_symbol() {
        let own = File::open(std::env::current_exe().expect("its path")).expect("open");
        let functions = Functions::read(&own).expect("functions");
        assert!(functions.heap_bytes() > 1000);
        let name = |function: &Function| {
            let name = &functions.names[function.name as usize..];
            name.split(|&byte| byte == 0).next().map(<[u8]>::to_vec)
        };
        let wanted = "this_test_has_a_symbol";
        let mut names = functions.by_address.iter().filter_map(name);
        assert!(names.any(|name| String::from_utf8_lossy(&name).contains(wanted)));
    }
}
