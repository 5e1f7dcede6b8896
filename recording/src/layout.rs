//! How long the records are that a recording holds, and how records of another version become ours.
//!
//! Records are kept as the kernel's programs wrote them. Fields are only ever added to them, at the end: of a station or a row at the
//! end of its head and of each piece. So a shorter record is one whose new fields are zero, and of a longer one the end is
//! not known here.

use probes_common::{
    Call, Closed, Extent, Found, Name, Piece, PlainKey, PlainSum, Process, RecordHeader, RecordKind, Row, Station,
    SumRow, Sums, Told,
};
use serde::{Deserialize, Serialize};

/// Bytes of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Layout {
    call: usize,
    station_head: usize,
    piece: usize,
    /// Recordings of version 1.0 have no rows, nor pipes that were found and notices.
    #[serde(default = "row_head")]
    row_head: usize,
    #[serde(default = "extent")]
    extent: usize,
    name: usize,
    process: usize,
    closed: usize,
    sums: usize,
    #[serde(default = "found")]
    found: usize,
    #[serde(default = "told")]
    told: usize,
    pub(super) plain_key: usize,
    pub(super) plain_sum: usize,
    pub(super) sum_row: usize,
}

fn row_head() -> usize {
    Row::HEAD
}

fn extent() -> usize {
    size_of::<Extent>()
}

fn found() -> usize {
    size_of::<Found>()
}

fn told() -> usize {
    size_of::<Told>()
}

impl Layout {
    /// This version's.
    pub(super) const OURS: Self = Self {
        call: size_of::<Call>(),
        station_head: Station::HEAD,
        piece: size_of::<Piece>(),
        row_head: Row::HEAD,
        extent: size_of::<Extent>(),
        name: size_of::<Name>(),
        process: size_of::<Process>(),
        closed: size_of::<Closed>(),
        plain_key: size_of::<PlainKey>(),
        plain_sum: size_of::<PlainSum>(),
        sum_row: size_of::<SumRow>(),
        sums: size_of::<Sums>(),
        found: size_of::<Found>(),
        told: size_of::<Told>(),
    };

    /// Whether records can be of such lengths: a record's own length has 16 bits.
    pub(super) fn is_possible(&self) -> bool {
        let lengths = [
            self.call,
            self.station_head,
            self.row_head,
            self.name,
            self.process,
            self.closed,
            self.sums,
            self.found,
            self.told,
            RecordHeader::SIZE + self.piece,
            RecordHeader::SIZE + self.extent,
        ];
        lengths
            .iter()
            .all(|len| (RecordHeader::SIZE + 1..=usize::from(u16::MAX)).contains(len))
            && [self.plain_key, self.plain_sum, self.sum_row]
                .iter()
                .all(|len| (1..=4096).contains(len))
    }

    /// Makes a record of this layout one of ours, in `into`. One that is not as long as it should be stays as it is: who
    /// decodes it finds it damaged.
    pub(super) fn translate<'a>(&self, record: &'a [u8], into: &'a mut Vec<u8>) -> &'a [u8] {
        if *self == Self::OURS {
            return record;
        }
        let Ok(mut header) = RecordHeader::from_bytes(record) else {
            return record;
        };
        into.clear();
        match header.kind {
            kind @ (Station::KIND | Row::KIND) => {
                let of = |layout: &Self| match kind {
                    Station::KIND => (layout.station_head, layout.piece),
                    _ => (layout.row_head, layout.extent),
                };
                let ((their_head, their_piece), (our_head, our_piece)) = (of(self), of(&Self::OURS));
                let Some((head, pieces)) = record.split_at_checked(their_head) else {
                    return record;
                };
                fit(head, our_head, into);
                for piece in pieces.chunks(their_piece) {
                    if piece.len() < their_piece {
                        return record;
                    }
                    fit(piece, our_piece, into);
                }
            }
            kind => {
                let Some((theirs, ours)) = self.lengths(kind) else {
                    return record;
                };
                if record.len() != theirs {
                    return record;
                }
                fit(record, ours, into);
            }
        }
        let Ok(len) = u16::try_from(into.len()) else {
            return record;
        };
        header.len = len;
        into[..RecordHeader::SIZE].copy_from_slice(&header.to_bytes());
        into
    }

    fn lengths(&self, kind: RecordKind) -> Option<(usize, usize)> {
        let ours = Self::OURS;
        Some(match kind {
            Call::KIND => (self.call, ours.call),
            Name::KIND => (self.name, ours.name),
            Process::KIND => (self.process, ours.process),
            Closed::KIND => (self.closed, ours.closed),
            Sums::KIND => (self.sums, ours.sums),
            Found::KIND => (self.found, ours.found),
            Told::KIND => (self.told, ours.told),
            _ => return None,
        })
    }
}

/// Adds the first `len` bytes, with zeroes for those that are missing.
fn fit(bytes: &[u8], len: usize, into: &mut Vec<u8>) {
    let end = into.len() + len;
    into.extend_from_slice(&bytes[..bytes.len().min(len)]);
    into.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use probes_common::decode::Record;

    fn record(kind: RecordKind, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mut header = RecordHeader::from_bytes(&{
            let mut head = [0; 32];
            head[28] = 1;
            head[30] = 32;
            head
        })
        .unwrap();
        (header.kind, header.len) = (kind, len as u16);
        bytes[..32].copy_from_slice(&header.to_bytes());
        bytes
    }

    #[test]
    fn shorter_records_get_zeroes_and_longer_ones_lose_their_end() {
        let kinds = [Call::KIND, Name::KIND, Process::KIND, Closed::KIND, Sums::KIND];
        for (change, kind) in [-8_isize, 8]
            .into_iter()
            .flat_map(|change| kinds.map(|kind| (change, kind)))
        {
            let other = |len: usize| len.checked_add_signed(change).unwrap();
            let ours = Layout::OURS;
            let theirs = Layout {
                call: other(ours.call),
                name: other(ours.name),
                process: other(ours.process),
                closed: other(ours.closed),
                sums: other(ours.sums),
                ..ours
            };
            let (len, _) = theirs.lengths(kind).unwrap();
            let old = record(kind, len);
            let mut room = Vec::new();
            let new = theirs.translate(&old, &mut room);
            assert!(Record::from_bytes(new).is_ok(), "{kind:?}");
            let same = len.min(new.len());
            assert_eq!(new[32..same], old[32..same]);
            assert!(new[same..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn pieces_of_a_station_are_fitted_one_by_one() {
        let ours = Layout::OURS;
        let theirs = Layout {
            station_head: ours.station_head + 8,
            piece: ours.piece - 8,
            ..ours
        };
        let count = std::mem::offset_of!(Station, count);
        let mut old = record(Station::KIND, theirs.station_head + 3 * theirs.piece);
        old[count..count + 2].copy_from_slice(&3_u16.to_ne_bytes());
        let mut room = Vec::new();
        let new = theirs.translate(&old, &mut room);
        let Ok(Record::Station(station)) = Record::from_bytes(new) else {
            panic!("a station")
        };
        assert_eq!(station.count, 3);
        let page = u64::from_ne_bytes(old[theirs.station_head + theirs.piece..][..8].try_into().unwrap());
        assert_eq!(station.pieces[1].page, page);
        assert_eq!((station.pieces[1].offset, station.pieces[1].len), (0, 0));
    }

    #[test]
    fn rows_are_fitted_as_stations_are() {
        let ours = Layout::OURS;
        let theirs = Layout {
            row_head: ours.row_head + 16,
            extent: ours.extent + 8,
            ..ours
        };
        let count = std::mem::offset_of!(Row, count);
        let mut old = record(Row::KIND, theirs.row_head + 3 * theirs.extent);
        old[count..count + 2].copy_from_slice(&3_u16.to_ne_bytes());
        let mut room = Vec::new();
        let Ok(Record::Station(station)) = Record::from_bytes(theirs.translate(&old, &mut room)) else {
            panic!("a row")
        };
        assert_eq!(station.count, 3);
        let page = u64::from_ne_bytes(old[theirs.row_head + 2 * theirs.extent..][..8].try_into().unwrap());
        assert_eq!(station.pieces[2].page, page);
    }

    #[test]
    fn what_is_not_as_long_as_it_says_stays_damaged() {
        let theirs = Layout {
            call: 100,
            ..Layout::OURS
        };
        let mut room = Vec::new();
        for len in [32, 99, 101, 900] {
            let old = record(Call::KIND, len);
            assert_eq!(theirs.translate(&old, &mut room), old);
        }
        assert_eq!(theirs.translate(&[1, 2], &mut room), [1, 2]);
        assert!(
            !Layout { call: 32, ..theirs }.is_possible()
                && !Layout {
                    piece: 65_535,
                    ..theirs
                }
                .is_possible()
        );
        assert!(Layout::OURS.is_possible());
    }
}
