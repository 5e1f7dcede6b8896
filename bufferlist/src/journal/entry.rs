//! Conversion of entries to and from the words of a record, which is the same in all versions.

use zctrace_contract::journal::{ApiCall, Entry, Operation};

use crate::reason::Reason;

/// Words of a record, by number. The first word is the record's sequence, which also marks it as
/// complete.
pub(super) mod field {
    pub(crate) const SEQUENCE: usize = 0;
    pub(crate) const TIME: usize = 1;
    pub(crate) const SEGMENT: usize = 2;
    pub(crate) const AT: usize = 3;
    pub(crate) const STREAM: usize = 4;
    pub(crate) const LEN: usize = 5;
    pub(crate) const PIPE: usize = 6;
    /// From the lowest byte: thread (4 bytes), call site, operation, reason, API call.
    pub(crate) const PACKED: usize = 7;
    pub(crate) const COUNT: usize = 8;
}

fn reason_of(code: u8) -> Option<Reason> {
    Reason::all().find(|reason| reason.number() == code)
}

/// Converts an entry to the words of its record, without the first word.
pub(super) fn to_words(entry: &Entry) -> [u64; field::COUNT - 1] {
    let packed = u64::from(entry.thread)
        | u64::from(entry.caller) << 32
        | (entry.operation as u64) << 40
        | u64::from(entry.reason.map_or(0, Reason::number)) << 48
        | entry.api_call.map_or(0, |call| call as u64) << 56;
    let mut words = [0; field::COUNT - 1];
    for (at, word) in [
        (field::TIME, entry.time_ns),
        (field::SEGMENT, entry.segment),
        (field::AT, entry.segment_offset),
        (field::STREAM, entry.pipe_offset),
        (field::LEN, entry.len),
        (field::PIPE, entry.pipe),
        (field::PACKED, packed),
    ] {
        words[at - 1] = word;
    }
    words
}

/// Converts the words of a record, without the first, to an entry. Returns `None` if they are
/// invalid.
pub(super) fn from_words(position: u64, words: &[u64; field::COUNT - 1]) -> Option<Entry> {
    let get = |at: usize| words[at - 1];
    let packed = get(field::PACKED);
    let entry = Entry {
        position,
        time_ns: get(field::TIME),
        segment: get(field::SEGMENT),
        segment_offset: get(field::AT),
        pipe_offset: get(field::STREAM),
        len: get(field::LEN),
        pipe: get(field::PIPE),
        thread: packed as u32,
        caller: (packed >> 32) as u8,
        operation: Operation::from_code((packed >> 40) as u8)?,
        reason: reason_of((packed >> 48) as u8),
        api_call: ApiCall::from_code((packed >> 56) as u8),
    };
    let fits =
        entry.segment_offset.checked_add(entry.len).is_some() && entry.pipe_offset.checked_add(entry.len).is_some();
    (entry.len > 0 && fits).then_some(entry)
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn journal_entries_survive_their_words() {
        for (operation, reason, api_call) in [
            (Operation::Fill, None, Some(ApiCall::Transfer)),
            (Operation::Peek, Some(Reason::Peeked), Some(ApiCall::Crc32c)),
            (Operation::Materialize, Some(Reason::NoPipe), None),
        ] {
            let entry = Entry {
                position: 7,
                time_ns: u64::MAX - 1,
                segment: 1 << 40,
                segment_offset: 3,
                pipe_offset: 1 << 50,
                len: 65_536,
                pipe: 0xffff_ffff_0001,
                thread: 0x89ab_cdef,
                caller: 200,
                operation,
                reason,
                api_call,
            };
            assert_eq!(from_words(7, &to_words(&entry)), Some(entry));
        }
    }

    #[test]
    fn journal_reasons_keep_their_codes() {
        for reason in Reason::all() {
            assert_eq!(
                reason_of(reason.number()),
                Some(reason),
                "{reason} has a number of its own"
            );
        }
        assert_eq!(reason_of(0), None);
    }

    #[test]
    fn journal_entries_that_cannot_be_are_none() {
        let mut words = [0; field::COUNT - 1];
        words[field::PACKED - 1] = 1 << 40;
        assert_eq!(from_words(0, &words), None, "no bytes");
        words[field::LEN - 1] = 1;
        assert!(from_words(0, &words).is_some());
        words[field::STREAM - 1] = u64::MAX;
        assert_eq!(from_words(0, &words), None, "a stream longer than can be counted");
        words[field::STREAM - 1] = 0;
        words[field::PACKED - 1] = 99 << 40;
        assert_eq!(from_words(0, &words), None, "an unknown operation");
    }
}
