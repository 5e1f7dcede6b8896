//! Where in a program a call was made: which file of code, and where in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;

use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor, open};

use super::functions::Functions;
use zctrace_evidence::Question;
use zctrace_report::Place;

/// Processes whose maps are kept.
const MOST: usize = 1024;
/// Files of code whose functions are looked for.
const MOST_FILES: usize = 4096;
/// Bytes of functions' names and places that are kept in all. Past that places have no names.
const MOST_WEIGHT: usize = 256 << 20;

/// A file: its filesystem's device, and its inode.
type FileId = ((u32, u32), u64);

/// Code that a process has mapped.
#[derive(Clone, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    file: FileId,
    path: String,
}

/// The maps of code of traced processes, read while these live.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    maps: HashMap<u32, Vec<Mapping>>,
    functions: HashMap<FileId, Option<Functions>>,
    weight: usize,
}

impl Symbols {
    /// Where a call was made; `None` if nobody can tell.
    pub(super) fn place(&mut self, Question { tgid, user_ip }: Question) -> Option<Place> {
        // A process that traces itself would trace its own questions.
        if !cfg!(test) && tgid == std::process::id() {
            return None;
        }
        let place = self.find(tgid, user_ip);
        // What was mapped since it was read.
        if place.is_none() && self.maps.len() < MOST {
            if let Some(maps) = read(tgid) {
                self.maps.insert(tgid, maps);
            }
            return self.find(tgid, user_ip);
        }
        place
    }

    fn find(&mut self, tgid: u32, ip: u64) -> Option<Place> {
        let mapping = self
            .maps
            .get(&tgid)?
            .iter()
            .find(|mapping| mapping.start <= ip && ip < mapping.end)?
            .clone();
        // The path may hold anything, and so may look like another line.
        let offset = (ip - mapping.start).checked_add(mapping.offset)?;
        Some(Place {
            function: self.function(tgid, &mapping, offset),
            object: Some(format!("{}+{offset:#x}", mapping.path)),
            ..Place::default()
        })
    }

    /// In which function of its file a place is. Each file is read once.
    fn function(&mut self, tgid: u32, mapping: &Mapping, offset: u64) -> Option<String> {
        if !self.functions.contains_key(&mapping.file) {
            if self.functions.len() >= MOST_FILES || self.weight >= MOST_WEIGHT {
                return None;
            }
            // One that cannot be reached now may be reached by another process.
            let file = open_mapped(tgid, mapping)?;
            let functions = Functions::of(&file);
            self.weight += functions.as_ref().map_or(0, Functions::weight);
            self.functions.insert(mapping.file, functions);
        }
        self.functions.get(&mapping.file)?.as_ref()?.at(offset)
    }
}

/// The file that a process has mapped, as that process sees it; `None` if something else is there by now.
fn open_mapped(tgid: u32, mapping: &Mapping) -> Option<File> {
    if !mapping.path.starts_with('/') {
        return None;
    }
    // What is there now may be anything: a FIFO would be waited for, and some devices act when they are opened.
    let path = format!("/proc/{tgid}/root{}", mapping.path);
    let there = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&there).ok()?;
    let id = ((major(stat.st_dev), minor(stat.st_dev)), stat.st_ino);
    // A filesystem with devices of its own for each subvolume says something else here: then there are no names.
    if id != mapping.file || !FileType::from_raw_mode(stat.st_mode).is_file() {
        return None;
    }
    File::open(format!("/proc/self/fd/{}", there.as_raw_fd())).ok()
}

/// Mapped code, see proc(5): `START-END PERMISSIONS OFFSET DEVICE INODE PATH`.
fn read(tgid: u32) -> Option<Vec<Mapping>> {
    let file = File::open(format!("/proc/{tgid}/maps")).ok()?;
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Some(lines.filter_map(|line| parse(&line)).collect())
}

fn parse(line: &str) -> Option<Mapping> {
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
        let mapping = parse("7f10-7f20 r-xp 00001000 fe:01 1234       /usr/lib/libc.so.6").unwrap();
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f10, 0x7f20, 0x1000));
        assert_eq!(mapping.file, ((0xfe, 1), 1234));
        assert_eq!(mapping.path, "/usr/lib/libc.so.6");
        assert!(
            parse("7f10-7f20 rw-p 00001000 fe:01 1234 /usr/lib/libc.so.6").is_none(),
            "no code"
        );
        assert!(parse("").is_none());
    }

    #[test]
    fn this_test_is_in_its_own_binary() {
        let here = this_test_is_in_its_own_binary as *const () as u64;
        let mut symbols = Symbols::default();
        let mut at = |user_ip| {
            symbols.place(Question {
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
