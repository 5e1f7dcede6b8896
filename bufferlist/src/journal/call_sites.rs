//! The lines of the program that asked for operations, each written into the journal once.

use super::layout::{CALLER_WORDS, CUT, Layout, NO_CALLER, READY, word};
use super::ring::Reader;
use crate::sync::AtomicU64;
use std::panic::Location;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Lines that a journal has room for. What a program has more of is recorded without its line, and counted.
pub(super) const MOST: usize = 128;

/// The lines that are in the table, each at the place of its number. A place is taken by one `Location`, which `rustc` makes
/// once for each call of a `#[track_caller]` function.
#[derive(Debug)]
pub(super) struct Callers([AtomicPtr<Location<'static>>; MOST]);

impl Callers {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicPtr::default()))
    }

    /// The number of a line. Who meets it first writes it down; and so does everybody who meets it before it is there to be
    /// read: all write the same, and nobody waits.
    #[inline]
    pub(super) fn number(&self, words: &[AtomicU64], layout: &Layout, at: &'static Location<'static>) -> u8 {
        let wanted = std::ptr::from_ref(at).cast_mut();
        let first = wanted.addr() / align_of::<Location<'static>>();
        for probe in 0..MOST {
            let number = (first + probe) % MOST;
            let place = &self.0[number];
            let mut found = place.load(Acquire);
            if found.is_null() {
                found = match place.compare_exchange(found, wanted, Release, Acquire) {
                    Ok(_) => wanted,
                    Err(other) => other,
                };
            }
            if found != wanted {
                continue;
            }
            let Some(caller) = layout.caller(number as u8) else {
                break;
            };
            let caller = &words[caller];
            if caller[0].load(Relaxed) & READY == 0 {
                write(caller, at.file(), at.line());
            }
            return number as u8;
        }
        words[word::UNNAMED].fetch_add(1, Relaxed);
        NO_CALLER
    }
}

/// Bytes of a file's name that are kept: of a longer one its end, which people know it by.
const NAME: usize = (CALLER_WORDS - 1) * 8;

pub(super) fn write(caller: &[AtomicU64], file: &str, line: u32) {
    let whole = file.as_bytes();
    let mut start = whole.len().saturating_sub(NAME);
    while !file.is_char_boundary(start) {
        start += 1;
    }
    let name = &whole[start..];
    for (word, bytes) in caller[1..].iter().zip(name.chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(eight), Relaxed);
    }
    let cut = if start > 0 { CUT } else { 0 };
    caller[0].store(READY | cut | (name.len() as u64) << 32 | u64::from(line), Release);
}

/// A line of a program.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CallSite {
    /// The file, as `rustc` knew it. Of a long name only the end, behind `…`. From another process: not to be shown to a
    /// terminal as it is.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl Reader {
    /// The line with this number. `None` if there is none, if it is not whole yet, or is no text.
    pub fn call_site(&self, words: &[AtomicU64], number: u8) -> Option<CallSite> {
        let caller = &words[self.layout().caller(number)?];
        let first = caller[0].load(Acquire);
        let len = (first >> 32 & 0xffff) as usize;
        if first & READY == 0 || len > (caller.len() - 1) * 8 {
            return None;
        }
        let mut name = Vec::with_capacity(caller.len() * 8);
        for word in &caller[1..] {
            name.extend(word.load(Relaxed).to_ne_bytes());
        }
        name.truncate(len);
        let name = String::from_utf8(name).ok()?;
        let file = if first & CUT == 0 { name } else { format!("…{name}") };
        Some(CallSite {
            file,
            line: first as u32,
        })
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::super::layout::{Room, made};
    use super::*;

    fn journal() -> (Vec<AtomicU64>, Reader) {
        let room = Room {
            callers: 128,
            records: 1,
            columns: 0,
            column_records: 0,
        };
        let words = made(room);
        let reader = Reader::new_at_end(&words).expect("it was just made");
        (words, reader)
    }

    #[test]
    fn journal_callers_are_written_once_and_read_back() {
        let (words, reader) = journal();
        let callers = Callers::new();
        let (one, two) = (Location::caller(), here());
        let first = callers.number(&words, reader.layout(), one);
        let second = callers.number(&words, reader.layout(), two);
        assert_ne!(first, second);
        assert_eq!(callers.number(&words, reader.layout(), one), first);
        let line = reader.call_site(&words, first).expect("it is there");
        assert_eq!((line.file.as_str(), line.line), (one.file(), one.line()));
        assert_eq!(reader.call_site(&words, second).expect("it is there").line, two.line());
    }

    #[track_caller]
    fn here() -> &'static Location<'static> {
        Location::caller()
    }

    #[test]
    fn journal_keeps_the_end_of_a_long_name() {
        let (words, reader) = journal();
        let long = format!("{}/äöü/src/lib.rs", "x".repeat(200));
        write(&words[reader.layout().caller(3).expect("there is room")], &long, 7);
        let line = reader.call_site(&words, 3).expect("it is there");
        assert!(
            line.file.starts_with('…') && line.file.ends_with("/äöü/src/lib.rs"),
            "{}",
            line.file
        );
        assert_eq!((line.file.len(), line.line), ('…'.len_utf8() + NAME, 7));
    }

    #[test]
    fn journal_callers_that_are_not_whole_or_no_text_are_none() {
        let (words, reader) = journal();
        let caller = &words[reader.layout().caller(0).expect("there is room")];
        assert_eq!(reader.call_site(&words, 0), None, "not written");
        write(caller, "src/a.rs", 1);
        caller[0].store(READY | 999 << 32, Relaxed);
        assert_eq!(reader.call_site(&words, 0), None, "longer than there is room");
        caller[0].store(READY | 8 << 32, Relaxed);
        caller[1].store(u64::MAX, Relaxed);
        assert_eq!(reader.call_site(&words, 0), None, "no text");
        assert_eq!(reader.call_site(&words, 128), None, "beyond the table");
    }
}
