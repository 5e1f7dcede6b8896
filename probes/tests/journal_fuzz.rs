//! Reading a hostile journal: for any contents of its memory, reading ends and returns a bounded
//! number of events.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;
use zctrace_probes::journal::fuzz_read;

/// The process that the header names.
const PID: u32 = 100;

proptest! {
    /// Any words at all, and any words behind a header that is right: reading ends, with no more
    /// than there is room for.
    #[test]
    fn arbitrary_words_are_read_within_bounds(
        mut words in prop::collection::vec(prop_oneof![Just(0), 0..300_u64, any::<u64>()], 0..400),
        right in any::<bool>(),
        heads in (prop_oneof![0..200_u64, any::<u64>()], prop_oneof![0..200_u64, any::<u64>()]),
        version in 1..=2_u64,
    ) {
        if right && words.len() >= 64 {
            let total = words.len() as u64 * 8;
            let two = |low: u64, high: u64| low | high << 32;
            let header = [
                u64::from_ne_bytes(*b"BUFLJRNL"), two(version, 256), total, two(256, 1), 64, two(384, 64), 1, PID.into(),
            ];
            words[..8].copy_from_slice(&header);
            words[24] = heads.0;
            // One column, of one record; its head is behind the caller.
            words[11..14].copy_from_slice(&[two(320, 1), two(448, 1), 8]);
            words[40] = heads.1;
        }
        let words: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
        prop_assert!(fuzz_read(&words).len() <= words.len() + 8);
    }
}
