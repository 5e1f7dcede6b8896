//! Where in a program a call was made: which file of code, and where in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use super::input::Question;
use crate::report::Place;

/// Processes whose maps are kept.
const MOST: usize = 1024;

/// Code that a process has mapped.
#[derive(Clone, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    path: String,
}

/// The maps of code of traced processes, read while these live.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    maps: HashMap<u32, Vec<Mapping>>,
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

    fn find(&self, tgid: u32, ip: u64) -> Option<Place> {
        let mapping = self
            .maps
            .get(&tgid)?
            .iter()
            .find(|mapping| mapping.start <= ip && ip < mapping.end)?;
        let offset = ip - mapping.start + mapping.offset;
        Some(Place {
            object: Some(format!("{}+{offset:#x}", mapping.path)),
            ..Place::default()
        })
    }
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
    let path = words.nth(2)?.trim();
    if !permissions.contains('x') || path.is_empty() {
        return None;
    }
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
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
        assert_eq!(at(1), None);
    }
}
