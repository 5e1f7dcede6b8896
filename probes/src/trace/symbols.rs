//! Resolution of call sites: object file, offset and function of an instruction.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;

use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, open};

use super::functions::Functions;
use zctrace_evidence::SymbolRequest;
use zctrace_report::CallSite;

/// Limit on processes whose mappings are kept.
const MAX_PROCESSES: usize = 1024;
/// Limit on object files whose functions are kept.
const MAX_FILES: usize = 4096;
/// Limit on memory for functions of all files, in bytes. Beyond it, call sites have no function
/// name.
const MAX_SYMBOL_BYTES: usize = 256 << 20;

/// File identity: device as (major, minor), and inode.
type FileId = ((u32, u32), u64);

/// Executable mapping of a process.
#[derive(Clone, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    file: FileId,
    path: String,
}

/// Executable mappings of traced processes, read while these are alive.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    maps: HashMap<u32, Vec<Mapping>>,
    functions: HashMap<FileId, Option<Functions>>,
    symbol_bytes: usize,
}

impl Symbols {
    /// Resolves a call site; `None` if it cannot be resolved.
    pub(super) fn resolve(&mut self, SymbolRequest { tgid, user_ip }: SymbolRequest) -> Option<CallSite> {
        // Reading /proc would itself be traced if a process traces itself.
        if !cfg!(test) && tgid == std::process::id() {
            return None;
        }
        let place = self.lookup(tgid, user_ip);
        // The instruction may be in a mapping that was created after the mappings were read.
        if place.is_none() && self.maps.len() < MAX_PROCESSES {
            if let Some(maps) = read_code_mappings(tgid) {
                self.maps.insert(tgid, maps);
            }
            return self.lookup(tgid, user_ip);
        }
        place
    }

    fn lookup(&mut self, tgid: u32, ip: u64) -> Option<CallSite> {
        let mapping = self
            .maps
            .get(&tgid)?
            .iter()
            .find(|mapping| mapping.start <= ip && ip < mapping.end)?
            .clone();
        // A path may contain line breaks, and so may imitate a line with other addresses.
        let offset = (ip - mapping.start).checked_add(mapping.offset)?;
        Some(CallSite {
            function: self.function(tgid, &mapping, offset),
            object: Some(format!("{}+{offset:#x}", mapping.path)),
            ..CallSite::default()
        })
    }

    /// Returns the function at a file offset. Each file is read once.
    fn function(&mut self, tgid: u32, mapping: &Mapping, offset: u64) -> Option<String> {
        if !self.functions.contains_key(&mapping.file) {
            if self.functions.len() >= MAX_FILES || self.symbol_bytes >= MAX_SYMBOL_BYTES {
                return None;
            }
            // A file that cannot be opened through this process may be reachable through another
            // one.
            let file = open_mapped(tgid, mapping)?;
            let functions = Functions::read(&file);
            self.symbol_bytes += functions.as_ref().map_or(0, Functions::heap_bytes);
            self.functions.insert(mapping.file, functions);
        }
        self.functions.get(&mapping.file)?.as_ref()?.lookup(offset)
    }
}

/// Opens a mapped file as its process sees it; `None` if the path now names another file.
fn open_mapped(tgid: u32, mapping: &Mapping) -> Option<File> {
    if !mapping.path.starts_with('/') {
        return None;
    }
    // Open with O_PATH first, because the path may name anything: opening a FIFO blocks, and
    // opening some devices has side effects.
    let path = format!("/proc/{tgid}/root{}", mapping.path);
    let path_fd = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&path_fd).ok()?;
    let id = ((major(stat.st_dev), minor(stat.st_dev)), stat.st_ino);
    // Filesystems with a device per subvolume report another device here. Call sites in them have
    // no function names.
    if id != mapping.file || !FileType::from_raw_mode(stat.st_mode).is_file() {
        return None;
    }
    File::open(format!("/proc/self/fd/{}", path_fd.as_raw_fd())).ok()
}

/// Reads executable mappings, see proc(5): `START-END PERMISSIONS OFFSET DEVICE INODE PATH`.
fn read_code_mappings(tgid: u32) -> Option<Vec<Mapping>> {
    let file = File::open(format!("/proc/{tgid}/maps")).ok()?;
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Some(lines.filter_map(|line| parse_maps_line(&line)).collect())
}

fn parse_maps_line(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let offset = words.next()?;
    let (major, minor) = words.next()?.split_once(':')?;
    let device = (
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
    );
    let inode = words.next()?.parse().ok()?;
    let path = words.next()?.trim();
    if !permissions.contains('x') || path.is_empty() {
        return None;
    }
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        file: (device, inode),
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_by_file_and_offset() {
        let mapping = parse_maps_line("7f10-7f20 r-xp 00001000 fe:01 1234       /usr/lib/libc.so.6").unwrap();
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f10, 0x7f20, 0x1000));
        assert_eq!(mapping.file, ((0xfe, 1), 1234));
        assert_eq!(mapping.path, "/usr/lib/libc.so.6");
        assert!(
            parse_maps_line("7f10-7f20 rw-p 00001000 fe:01 1234 /usr/lib/libc.so.6").is_none(),
            "no code"
        );
        assert!(parse_maps_line("").is_none());
    }

    #[test]
    fn this_test_is_in_its_own_binary() {
        let here = this_test_is_in_its_own_binary as *const () as u64;
        let mut symbols = Symbols::default();
        let mut at = |user_ip| {
            symbols.resolve(SymbolRequest {
                tgid: std::process::id(),
                user_ip,
            })
        };
        let place = at(here).expect("mapped");
        let own = std::env::current_exe().unwrap();
        assert!(place.object.unwrap().starts_with(own.to_str().unwrap()));
        let function = place.function.expect("its name");
        assert!(
            function.contains("this_test_is_in_its_own_binary") && function.ends_with("+0x0"),
            "{function}"
        );
        assert_eq!(at(1), None);
    }
}
