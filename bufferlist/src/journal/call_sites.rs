//! Call sites that requested operations, each written into the journal once.

use super::layout::{CALL_SITE_WORDS, COMPLETE, Layout, NO_CALL_SITE, TRUNCATED, word};
use super::reader::Reader;
use crate::sync::AtomicU64;
use std::panic::Location;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Number of call sites that a journal holds. Entries of further call sites are written without
/// one, and counted.
pub(super) const MAX_CALL_SITES: usize = 128;

/// Call sites in the journal's table, each at its index. An index is claimed for one `Location`, of
/// which `rustc` creates one per call of a `#[track_caller]` function.
#[derive(Debug)]
pub(super) struct CallSiteTable([AtomicPtr<Location<'static>>; MAX_CALL_SITES]);

impl CallSiteTable {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicPtr::default()))
    }

    /// Returns the index of a call site, adding it to the journal if needed.
    ///
    /// The first thread to use a call site writes it, as does every thread that uses it before it
    /// is complete. All of them write the same words, so none has to wait.
    #[inline]
    pub(super) fn index_of(&self, words: &[AtomicU64], layout: &Layout, at: &'static Location<'static>) -> u8 {
        let wanted = std::ptr::from_ref(at).cast_mut();
        let first = wanted.addr() / align_of::<Location<'static>>();
        for probe in 0..MAX_CALL_SITES {
            let number = (first + probe) % MAX_CALL_SITES;
            let slot = &self.0[number];
            let mut current = slot.load(Acquire);
            if current.is_null() {
                current = match slot.compare_exchange(current, wanted, Release, Acquire) {
                    Ok(_) => wanted,
                    Err(other) => other,
                };
            }
            if current != wanted {
                continue;
            }
            let Some(caller) = layout.call_site(number as u8) else {
                break;
            };
            let caller = &words[caller];
            if caller[0].load(Relaxed) & COMPLETE == 0 {
                write(caller, at.file(), at.line());
            }
            return number as u8;
        }
        words[word::CALL_SITE_MISSES].fetch_add(1, Relaxed);
        NO_CALL_SITE
    }
}

/// Maximum number of bytes of a file name. Of a longer name the end is kept, which identifies the
/// file.
const MAX_NAME_BYTES: usize = (CALL_SITE_WORDS - 1) * 8;

pub(super) fn write(caller: &[AtomicU64], file: &str, line: u32) {
    let bytes = file.as_bytes();
    let mut start = bytes.len().saturating_sub(MAX_NAME_BYTES);
    while !file.is_char_boundary(start) {
        start += 1;
    }
    let name = &bytes[start..];
    for (word, bytes) in caller[1..].iter().zip(name.chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(eight), Relaxed);
    }
    let cut = if start > 0 { TRUNCATED } else { 0 };
    caller[0].store(COMPLETE | cut | (name.len() as u64) << 32 | u64::from(line), Release);
}

/// Call site in a program: a file and a line.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CallSite {
    /// File name, as `rustc` knew it. Only the end of a long name, after `…`. The name comes from
    /// another process, so it must be sanitized before it is printed to a terminal.
    pub file: String,
    /// Line number, from 1.
    pub line: u32,
}

impl Reader {
    /// Returns the call site with this index. `None` if there is none, if it is not yet complete,
    /// or if it is not valid UTF-8.
    pub fn call_site(&self, words: &[AtomicU64], number: u8) -> Option<CallSite> {
        let caller = &words[self.layout().call_site(number)?];
        let first = caller[0].load(Acquire);
        let len = (first >> 32 & 0xffff) as usize;
        if first & COMPLETE == 0 || len > (caller.len() - 1) * 8 {
            return None;
        }
        let mut name = Vec::with_capacity(caller.len() * 8);
        for word in &caller[1..] {
            name.extend(word.load(Relaxed).to_ne_bytes());
        }
        name.truncate(len);
        let name = String::from_utf8(name).ok()?;
        let file = if first & TRUNCATED == 0 {
            name
        } else {
            format!("…{name}")
        };
        Some(CallSite {
            file,
            line: first as u32,
        })
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::super::layout::{Capacity, in_memory};
    use super::*;

    fn journal() -> (Vec<AtomicU64>, Reader) {
        let capacity = Capacity {
            call_sites: 128,
            records: 1,
            columns: 0,
            column_records: 0,
        };
        let words = in_memory(capacity);
        let reader = Reader::new_at_end(&words).expect("it was just created");
        (words, reader)
    }

    #[test]
    fn journal_call_sites_are_written_once_and_read_back() {
        let (words, reader) = journal();
        let call_sites = CallSiteTable::new();
        let (one, two) = (Location::caller(), here());
        let first = call_sites.index_of(&words, reader.layout(), one);
        let second = call_sites.index_of(&words, reader.layout(), two);
        assert_ne!(first, second);
        assert_eq!(call_sites.index_of(&words, reader.layout(), one), first);
        let line = reader.call_site(&words, first).expect("it is there");
        assert_eq!((line.file.as_str(), line.line), (one.file(), one.line()));
        assert_eq!(reader.call_site(&words, second).expect("it is there").line, two.line());
    }

    #[track_caller]
    fn here() -> &'static Location<'static> {
        Location::caller()
    }

    #[test]
    fn journal_truncates_long_file_names_at_the_start() {
        let (words, reader) = journal();
        let long = format!("{}/äöü/src/lib.rs", "x".repeat(200));
        write(&words[reader.layout().call_site(3).expect("there is room")], &long, 7);
        let line = reader.call_site(&words, 3).expect("it is there");
        assert!(
            line.file.starts_with('…') && line.file.ends_with("/äöü/src/lib.rs"),
            "{}",
            line.file
        );
        assert_eq!((line.file.len(), line.line), ('…'.len_utf8() + MAX_NAME_BYTES, 7));
    }

    #[test]
    fn journal_incomplete_or_invalid_call_sites_are_none() {
        let (words, reader) = journal();
        let caller = &words[reader.layout().call_site(0).expect("there is room")];
        assert_eq!(reader.call_site(&words, 0), None, "not written");
        write(caller, "src/a.rs", 1);
        caller[0].store(COMPLETE | 999 << 32, Relaxed);
        assert_eq!(reader.call_site(&words, 0), None, "longer than there is room");
        caller[0].store(COMPLETE | 8 << 32, Relaxed);
        caller[1].store(u64::MAX, Relaxed);
        assert_eq!(reader.call_site(&words, 0), None, "no text");
        assert_eq!(reader.call_site(&words, 128), None, "beyond the table");
    }
}
