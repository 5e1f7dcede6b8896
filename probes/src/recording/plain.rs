//! Sums of plain calls as bytes: as they lie in the kernel's map, all numbers little-endian.

use probes_common::{PlainKey, PlainSum};

use super::layout::{Layout, fit};

pub(super) fn put((key, sum): &(PlainKey, PlainSum), into: &mut Vec<u8>) {
    into.extend_from_slice(&key.ino.to_le_bytes());
    for number in [key.tgid, key.dev, key.nr, key.op_flags] {
        into.extend_from_slice(&number.to_le_bytes());
    }
    for number in [key.kind, key.zero[0], key.zero[1], key.zero[2]] {
        into.extend_from_slice(&number.to_le_bytes());
    }
    let numbers = [
        sum.bytes,
        sum.calls,
        sum.failed,
        sum.small_bytes,
        sum.small_calls,
        sum.user_ip,
        sum.first_ns,
        sum.last_ns,
    ];
    for number in numbers {
        into.extend_from_slice(&number.to_le_bytes());
    }
}

/// The rows in `bytes`, `None` if they do not end with a whole one.
pub(super) fn rows(bytes: &[u8], layout: &Layout, into: &mut Vec<(PlainKey, PlainSum)>) -> Option<()> {
    let (key_len, sum_len) = layout.plain();
    let (our_key, our_sum) = Layout::OURS.plain();
    into.clear();
    let rows = bytes.chunks_exact(key_len + sum_len);
    if !rows.remainder().is_empty() {
        return None;
    }
    let mut room = Vec::with_capacity(our_key + our_sum);
    for row in rows {
        let (key, sum) = row.split_at(key_len);
        room.clear();
        fit(key, our_key, &mut room);
        fit(sum, our_sum, &mut room);
        into.push(row_of(&room)?);
    }
    Some(())
}

fn row_of(bytes: &[u8]) -> Option<(PlainKey, PlainSum)> {
    let mut rest = bytes;
    let mut word = || {
        let (word, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        Some(u64::from_le_bytes(*word))
    };
    let (ino, tgid_dev, nr_flags, kind) = (word()?, word()?, word()?, word()?);
    let key = PlainKey {
        ino,
        tgid: tgid_dev as u32,
        dev: (tgid_dev >> 32) as u32,
        nr: nr_flags as u32,
        op_flags: (nr_flags >> 32) as u32,
        kind: kind as u16,
        zero: [16, 32, 48].map(|shift| (kind >> shift) as u16),
    };
    let sum = PlainSum {
        bytes: word()?,
        calls: word()?,
        failed: word()?,
        small_bytes: word()?,
        small_calls: word()?,
        user_ip: word()?,
        first_ns: word()?,
        last_ns: word()?,
    };
    Some((key, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let row = |n: u64| {
            let key = PlainKey {
                ino: n,
                tgid: 2,
                dev: 3,
                nr: 4,
                op_flags: 5,
                kind: 6,
                zero: [7, 8, 9],
            };
            let sum = PlainSum {
                bytes: u64::MAX,
                calls: 11,
                failed: 12,
                small_bytes: 13,
                small_calls: 14,
                user_ip: 15,
                first_ns: 16,
                last_ns: 17,
            };
            (key, sum)
        };
        let mut bytes = Vec::new();
        for n in 0..3 {
            put(&row(n), &mut bytes);
        }
        let (key, sum) = Layout::OURS.plain();
        assert_eq!(bytes.len(), 3 * (key + sum));
        let mut read = Vec::new();
        assert!(rows(&bytes, &Layout::OURS, &mut read).is_some());
        assert_eq!(read, [row(0), row(1), row(2)]);
        assert!(rows(&bytes[1..], &Layout::OURS, &mut read).is_none());
    }
}
