//! Replacement of kernel addresses in recordings by pseudonyms, so that a recording does not defeat
//! KASLR.
//!
//! The evidence engine asks whether two addresses are equal, what the low bits of a page's mapping
//! are, and which pages are adjacent. All of that is preserved: addresses of objects go through a
//! permutation that keeps the low three bits, and addresses of pages are shifted by a constant.
//! Both are random for each trace and are stored nowhere. A recording therefore reveals neither
//! where the kernel is nor where an object is. It does reveal the distance between pages.
//!
//! Addresses of the traced program's own memory are not changed.

use std::mem::offset_of;

use zctrace_records::{
    Address, DigestState, EndpointState, MAPPING_NOT_READ, MAPPING_TRUNCATED, RecordHeader, RecordKind, addresses,
    endpoint_kind,
};

use super::random_u64;
use zctrace_evidence::PipeBufOps;

/// Pseudonyms of one trace.
#[derive(Debug)]
pub(super) struct Anonymizer {
    keys: [u64; 3],
    shift: u64,
    /// Buffer for the last anonymized record.
    record: Vec<u8>,
}

/// Low address bits that are kept: in `folio->mapping` they say what kind of owner the page has.
const TAG_BITS: u32 = 3;
/// Mask of the other bits, after the shift.
const OBJECT_MASK: u64 = u64::MAX >> TAG_BITS;
/// Size of `struct page` in bytes. The shift is a multiple of it.
const PAGE_STRUCT: u64 = 64;

impl Anonymizer {
    pub(super) fn new() -> Self {
        Self::with([random_u64(), random_u64(), random_u64()], random_u64())
    }

    fn with(keys: [u64; 3], shift: u64) -> Self {
        Self {
            keys,
            // The shift wraps in neither direction and is not a multiple of a large page.
            shift: (shift >> 16 | 1 << 47).wrapping_mul(PAGE_STRUCT),
            record: Vec::new(),
        }
    }

    /// Returns the pseudonym of an object's address. It is injective and maps 0 to 0.
    fn object(&self, address: u64) -> u64 {
        let (rest, low) = (address >> TAG_BITS, address & !(u64::MAX << TAG_BITS));
        if rest == 0 {
            return address;
        }
        let mut hidden = self.permute(rest);
        if hidden == 0 {
            // 0 keeps its value, so the value that the permutation gives it is free.
            hidden = self.permute(0);
        }
        hidden << TAG_BITS | low
    }

    /// Permutes the numbers below 2^61. Every step is invertible.
    fn permute(&self, number: u64) -> u64 {
        let mut mixed = number;
        for key in self.keys {
            mixed = (mixed ^ key) & OBJECT_MASK;
            mixed ^= mixed >> 31;
            // Odd factors are invertible modulo a power of two. The constants are those of
            // splitmix64.
            mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) & OBJECT_MASK;
            mixed ^= mixed >> 29;
            mixed = mixed.wrapping_mul(0x94d0_49bb_1331_11eb) & OBJECT_MASK;
            mixed ^= mixed >> 32;
        }
        mixed
    }

    /// Returns the pseudonym of the address of a `struct page`.
    fn page(&self, address: u64) -> u64 {
        if address == 0 {
            0
        } else {
            // The upper 16 bits of kernel addresses are set.
            (address ^ 0xffff << 48).wrapping_add(self.shift)
        }
    }

    /// Anonymizes the identities of slot kinds.
    pub(super) fn pipe_buf_ops(&self, names: &PipeBufOps) -> PipeBufOps {
        PipeBufOps {
            page_cache: self.object(names.page_cache),
            anonymous: self.object(names.anonymous),
            user: self.object(names.user),
            zero: self.object(names.zero),
            zero_page: self.page(names.zero_page),
        }
    }

    /// Returns a record with its kernel addresses anonymized.
    pub(super) fn record(&mut self, bytes: &[u8]) -> &[u8] {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.extend_from_slice(bytes);
        self.rewrite(&mut record);
        self.record = record;
        &self.record
    }

    /// Anonymizes digests of connections.
    pub(super) fn digests(&self, rows: &[(u64, DigestState)]) -> Vec<(u64, DigestState)> {
        let hidden = |(sock, row): &(u64, DigestState)| {
            let mut row = *row;
            row.span.file.mapping = self.object(row.span.file.mapping);
            (self.object(*sock), row)
        };
        rows.iter().map(hidden).collect()
    }

    fn rewrite(&self, record: &mut [u8]) {
        let object = |address| self.object(address);
        let page = |address| self.page(address);
        let kind = read_bytes(record, offset_of!(RecordHeader, kind)).map(u16::from_ne_bytes);
        let Some(addresses) = kind.and_then(|kind| addresses(RecordKind(kind))) else {
            // The body of an unknown record can contain anything.
            if let Some(body) = record.get_mut(RecordHeader::SIZE..) {
                body.fill(0);
            }
            return;
        };
        let rewrite_address = |record: &mut [u8], start: usize, address: &Address| match *address {
            Address::Object(offset) => replace_u64(record, start + offset, object),
            Address::ObjectIf { offset, tag, value } => {
                if read_bytes(record, start + tag).map(u32::from_ne_bytes) == Some(value) {
                    replace_u64(record, start + offset, object);
                }
            }
            Address::Mapping(offset) => replace_u64(record, start + offset, |mapping| match mapping {
                // Not an address.
                MAPPING_NOT_READ | MAPPING_TRUNCATED => mapping,
                mapping => self.object(mapping),
            }),
            Address::Page(offset) => replace_u64(record, start + offset, page),
            Address::Endpoint(offset) => self.rewrite_endpoint(record, start + offset),
        };
        for address in addresses.fixed {
            rewrite_address(record, 0, address);
        }
        let Some((first, size)) = addresses.elements else {
            return;
        };
        for start in (first..record.len()).step_by(size) {
            for address in addresses.of_element {
                rewrite_address(record, start, address);
            }
        }
    }

    /// Anonymizes the endpoint state that begins at `at`.
    fn rewrite_endpoint(&self, record: &mut [u8], at: usize) {
        let kind = read_bytes(record, at + offset_of!(EndpointState, kind)).map(u16::from_ne_bytes);
        let object = |address| self.object(address);
        replace_u64(record, at + offset_of!(EndpointState, file), object);
        if kind != Some(endpoint_kind::MEMORY) {
            replace_u64(record, at + offset_of!(EndpointState, object), object);
        }
        // For a TCP socket this is a number.
        if kind != Some(endpoint_kind::TCP) {
            replace_u64(record, at + offset_of!(EndpointState, extra), object);
        }
    }
}

/// Returns the bytes at an offset, if the record is long enough.
fn read_bytes<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..)?.first_chunk().copied()
}

fn replace_u64(record: &mut [u8], at: usize, to: impl FnOnce(u64) -> u64) {
    if let Some(bytes) = record.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
        *bytes = to(u64::from_ne_bytes(*bytes)).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_records::{PageRun, PageVec};

    fn anonymizer() -> Anonymizer {
        Anonymizer::with([1, u64::MAX, 0x1234_5678_9abc_def0], 77)
    }

    #[test]
    fn different_objects_stay_different_and_keep_their_low_bits() {
        let anonymizer = anonymizer();
        let base = 0xffff_8881_0000_0000_u64;
        let all: Vec<u64> = (0..200_000).map(|n| base + n).chain(0..8).collect();
        let mut hidden: Vec<u64> = all.iter().map(|&address| anonymizer.object(address)).collect();
        for (address, hidden) in all.iter().zip(&hidden) {
            assert_eq!(address & 7, hidden & 7);
            assert!(*address < 8 || address != hidden);
        }
        hidden.sort_unstable();
        hidden.dedup();
        assert_eq!(hidden.len(), all.len());
    }

    #[test]
    fn adjacent_pages_stay_adjacent_and_zero_stays_zero() {
        let anonymizer = anonymizer();
        let page = 0xffff_ea00_0012_3440_u64;
        assert_eq!(anonymizer.page(page + 64) - anonymizer.page(page), 64);
        assert_eq!(anonymizer.page(page) % 64, 0);
        assert_ne!(anonymizer.page(page), page);
        assert_eq!(anonymizer.page(page + 1) % 64, 1, "what is no page does not become one");
        assert_eq!(anonymizer.page(0), 0);
    }

    #[test]
    fn page_run_is_anonymized_like_the_equal_page_record() {
        use crate::probe::{Record, RecordRef};
        let mut anonymizer = anonymizer();
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
            let hidden = Record::from_bytes(anonymizer.record(&bytes)).unwrap();
            if mapping == MAPPING_NOT_READ {
                let Record::Pages(hidden) = &hidden else {
                    panic!("a row")
                };
                assert!(hidden.ranges[..3].iter().all(|piece| piece.mapping == MAPPING_NOT_READ));
                assert_ne!(hidden.ranges[0].page, plain.ranges[0].page);
                continue;
            }
            // Give the ranges different indexes, so that they are encoded as a page record.
            plain.ranges[1].index += 1;
            let mut longer = Vec::new();
            RecordRef::Pages(&plain).write(&mut longer);
            let Ok(Record::Pages(mut other)) = Record::from_bytes(anonymizer.record(&longer)) else {
                panic!("a station")
            };
            other.ranges[1].index -= 1;
            let Record::Pages(hidden) = hidden else { panic!("a row") };
            other.header = hidden.header;
            assert_eq!(other, hidden);
        }
    }

    #[test]
    fn body_of_an_unknown_record_is_erased() {
        let mut bytes = vec![0xee; 96];
        bytes[28..32].copy_from_slice(&[0xee, 0xee, 96, 0]);
        let mut anonymizer = anonymizer();
        let hidden = anonymizer.record(&bytes);
        assert_eq!(hidden[..32], bytes[..32]);
        assert!(hidden[32..].iter().all(|&byte| byte == 0));
        assert_eq!(anonymizer.record(&[1, 2, 3]), [1, 2, 3]);
    }
}
