//! Addresses of the kernel, made into numbers that tell nobody where anything is: for recordings, which others may read.
//!
//! The joins of the evidence ask whether two addresses are the same, which the low bits of a page's mapping say, and which
//! pages lie next to each other. All that is kept: objects go through a permutation that leaves the low three bits, pages are
//! shifted by a constant. Both are chosen by chance for each trace and written nowhere. So a recording does not tell where
//! the kernel lies (KASLR), nor where an object does; it does tell how far one page is from another.
//!
//! Addresses of the traced program's own memory stay as they are.

use std::mem::offset_of;

use zctrace_records::{
    Address, DigestState, EndpointState, MAPPING_NOT_READ, RecordHeader, RecordKind, addresses, endpoint_kind,
};

use super::random;
use zctrace_evidence::SlotNames;

/// How addresses of one trace are hidden.
#[derive(Debug)]
pub(super) struct Hide {
    keys: [u64; 3],
    shift: u64,
    /// The record that was hidden last.
    record: Vec<u8>,
}

/// Bits of an address that are kept: `folio->mapping` says in them whose page it is.
const LOW: u32 = 3;
/// The bits above.
const REST: u64 = u64::MAX >> LOW;
/// `struct page` has 64 bytes: pages stay on its boundaries.
const PAGE_STRUCT: u64 = 64;

impl Hide {
    pub(super) fn new() -> Self {
        Self::with([random(), random(), random()], random())
    }

    fn with(keys: [u64; 3], shift: u64) -> Self {
        Self {
            keys,
            // Far from a wrap in both directions, and no multiple of a large page.
            shift: (shift >> 16 | 1 << 47).wrapping_mul(PAGE_STRUCT),
            record: Vec::new(),
        }
    }

    /// An object's address. Different ones stay different, and 0 stays 0.
    fn object(&self, address: u64) -> u64 {
        let (rest, low) = (address >> LOW, address & !(u64::MAX << LOW));
        if rest == 0 {
            return address;
        }
        let mut hidden = self.permuted(rest);
        if hidden == 0 {
            // What 0 would become is free, for 0 stays.
            hidden = self.permuted(0);
        }
        hidden << LOW | low
    }

    /// A permutation of the numbers below 2^61: each step can be undone.
    fn permuted(&self, number: u64) -> u64 {
        let mut mixed = number;
        for key in self.keys {
            mixed = (mixed ^ key) & REST;
            mixed ^= mixed >> 31;
            // Odd numbers have an inverse modulo a power of two. The constants are splitmix64's.
            mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) & REST;
            mixed ^= mixed >> 29;
            mixed = mixed.wrapping_mul(0x94d0_49bb_1331_11eb) & REST;
            mixed ^= mixed >> 32;
        }
        mixed
    }

    /// The address of a `struct page`.
    fn page(&self, address: u64) -> u64 {
        if address == 0 {
            0
        } else {
            // Addresses of the kernel begin with 16 set bits.
            (address ^ 0xffff << 48).wrapping_add(self.shift)
        }
    }

    /// What the kernel calls slots.
    pub(super) fn names(&self, names: &SlotNames) -> SlotNames {
        SlotNames {
            page_cache: self.object(names.page_cache),
            anonymous: self.object(names.anonymous),
            user: self.object(names.user),
            zero: self.object(names.zero),
            zero_page: self.page(names.zero_page),
        }
    }

    /// A record without the kernel's addresses.
    pub(super) fn record(&mut self, bytes: &[u8]) -> &[u8] {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.extend_from_slice(bytes);
        self.in_place(&mut record);
        self.record = record;
        &self.record
    }

    /// Sums over the pages of connections.
    pub(super) fn sums(&self, rows: &[(u64, DigestState)]) -> Vec<(u64, DigestState)> {
        let hidden = |(sock, row): &(u64, DigestState)| {
            let mut row = *row;
            row.span.file.mapping = self.object(row.span.file.mapping);
            (self.object(*sock), row)
        };
        rows.iter().map(hidden).collect()
    }

    fn in_place(&self, record: &mut [u8]) {
        let object = |address| self.object(address);
        let page = |address| self.page(address);
        let kind = get(record, offset_of!(RecordHeader, kind)).map(u16::from_ne_bytes);
        let Some(addresses) = kind.and_then(|kind| addresses(RecordKind(kind))) else {
            // What is in it is not known here, so it may be anything.
            if let Some(body) = record.get_mut(RecordHeader::SIZE..) {
                body.fill(0);
            }
            return;
        };
        let hide = |record: &mut [u8], start: usize, address: &Address| match *address {
            Address::Object(offset) => change(record, start + offset, object),
            Address::ObjectIf { offset, tag, value } => {
                if get(record, start + tag).map(u32::from_ne_bytes) == Some(value) {
                    change(record, start + offset, object);
                }
            }
            Address::Mapping(offset) => change(record, start + offset, |mapping| match mapping {
                // It is no address.
                MAPPING_NOT_READ => MAPPING_NOT_READ,
                mapping => self.object(mapping),
            }),
            Address::Page(offset) => change(record, start + offset, page),
            Address::Endpoint(offset) => self.end(record, start + offset),
        };
        for address in addresses.fixed {
            hide(record, 0, address);
        }
        let Some((first, size)) = addresses.elements else {
            return;
        };
        for start in (first..record.len()).step_by(size) {
            for address in addresses.of_element {
                hide(record, start, address);
            }
        }
    }

    /// An end of a call, which begins at `at`.
    fn end(&self, record: &mut [u8], at: usize) {
        let kind = get(record, at + offset_of!(EndpointState, kind)).map(u16::from_ne_bytes);
        let object = |address| self.object(address);
        change(record, at + offset_of!(EndpointState, file), object);
        if kind != Some(endpoint_kind::MEMORY) {
            change(record, at + offset_of!(EndpointState, object), object);
        }
        // Of a TCP socket it is a number, not an address.
        if kind != Some(endpoint_kind::TCP) {
            change(record, at + offset_of!(EndpointState, extra), object);
        }
    }
}

/// The bytes at `at`, if there are so many.
fn get<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..)?.first_chunk().copied()
}

fn change(record: &mut [u8], at: usize, to: impl FnOnce(u64) -> u64) {
    if let Some(bytes) = record.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
        *bytes = to(u64::from_ne_bytes(*bytes)).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_records::{PageRun, PageVec};

    fn hide() -> Hide {
        Hide::with([1, u64::MAX, 0x1234_5678_9abc_def0], 77)
    }

    #[test]
    fn different_objects_stay_different_and_keep_their_low_bits() {
        let hide = hide();
        let base = 0xffff_8881_0000_0000_u64;
        let all: Vec<u64> = (0..200_000).map(|n| base + n).chain(0..8).collect();
        let mut hidden: Vec<u64> = all.iter().map(|&address| hide.object(address)).collect();
        for (address, hidden) in all.iter().zip(&hidden) {
            assert_eq!(address & 7, hidden & 7);
            assert!(*address < 8 || address != hidden);
        }
        hidden.sort_unstable();
        hidden.dedup();
        assert_eq!(hidden.len(), all.len());
    }

    #[test]
    fn neighbours_stay_neighbours_and_no_page_stays_none() {
        let hide = hide();
        let page = 0xffff_ea00_0012_3440_u64;
        assert_eq!(hide.page(page + 64) - hide.page(page), 64);
        assert_eq!(hide.page(page) % 64, 0);
        assert_ne!(hide.page(page), page);
        assert_eq!(hide.page(page + 1) % 64, 1, "what is no page does not become one");
        assert_eq!(hide.page(0), 0);
    }

    #[test]
    fn a_row_is_hidden_as_the_station_that_it_is() {
        use crate::probe::{Record, RecordRef};
        let mut hide = hide();
        for mapping in [0xffff_8881_0000_1000, 0xffff_8881_0000_1001, 0, MAPPING_NOT_READ] {
            let mut bytes = vec![0; PageRun::HEAD_SIZE + 3 * size_of::<PageVec>()];
            bytes[28..32].copy_from_slice(&[PageRun::KIND.0 as u8, 0, (PageRun::HEAD_SIZE + 48) as u8, 0]);
            bytes[offset_of!(PageRun, count)] = 3;
            bytes[offset_of!(PageRun, object)..][..8].copy_from_slice(&0xffff_8881_0000_2000_u64.to_ne_bytes());
            bytes[offset_of!(PageRun, mapping)..][..8].copy_from_slice(&mapping.to_ne_bytes());
            bytes[offset_of!(PageRun, ops)..][..8].copy_from_slice(&0xffff_ffff_8200_0010_u64.to_ne_bytes());
            for (n, at) in (PageRun::HEAD_SIZE..bytes.len()).step_by(16).enumerate() {
                bytes[at..at + 8].copy_from_slice(&(0xffff_ea00_0012_3440 + n as u64 * 64).to_ne_bytes());
            }
            let Ok(Record::Pages(mut plain)) = Record::from_bytes(&bytes) else {
                panic!("a row")
            };
            let hidden = Record::from_bytes(hide.record(&bytes)).unwrap();
            if mapping == MAPPING_NOT_READ {
                let Record::Pages(hidden) = &hidden else {
                    panic!("a row")
                };
                assert!(hidden.ranges[..3].iter().all(|piece| piece.mapping == MAPPING_NOT_READ));
                assert_ne!(hidden.ranges[0].page, plain.ranges[0].page);
                continue;
            }
            // As a station.
            plain.ranges[1].index += 1;
            let mut longer = Vec::new();
            RecordRef::Pages(&plain).write(&mut longer);
            let Ok(Record::Pages(mut other)) = Record::from_bytes(hide.record(&longer)) else {
                panic!("a station")
            };
            other.ranges[1].index -= 1;
            let Record::Pages(hidden) = hidden else { panic!("a row") };
            other.header = hidden.header;
            assert_eq!(other, hidden);
        }
    }

    #[test]
    fn nothing_of_an_unknown_kind_is_kept() {
        let mut bytes = vec![0xee; 96];
        bytes[28..32].copy_from_slice(&[0xee, 0xee, 96, 0]);
        let mut hide = hide();
        let hidden = hide.record(&bytes);
        assert_eq!(hidden[..32], bytes[..32]);
        assert!(hidden[32..].iter().all(|&byte| byte == 0));
        assert_eq!(hide.record(&[1, 2, 3]), [1, 2, 3]);
    }
}
