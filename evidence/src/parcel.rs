//! Bytes on their way: where they came from, where they lie now, and what happened to them.

use super::address::{Address, PAGE};
use super::ends::EndId;
use super::lanes::Lane;
use super::trail::TrailId;

/// What is known of where bytes lie, before they go over the next edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In these pages.
    At(Address),
    /// In the page cache, at this place of the file with this mapping: which page that is, the page itself says.
    File { mapping: u64, position: u64 },
    /// In the caller's memory, at this address.
    Memory(u64),
    /// On a device, under the page cache: the device writes into pages that nobody has seen before.
    Device,
    /// Another host sent them.
    Remote,
    /// Nobody knows.
    Unseen,
}

impl Place {
    /// The place `bytes` further on.
    pub(crate) fn plus(self, bytes: u64) -> Self {
        match self {
            Self::At(address) => Self::At(address.plus(bytes)),
            Self::File { mapping, position } => Self::File {
                mapping,
                position: position.wrapping_add(bytes),
            },
            Self::Memory(address) => Self::Memory(address.wrapping_add(bytes)),
            other => other,
        }
    }
}

/// Bytes that came from one place over one trail, and lie in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parcel {
    /// How many.
    pub(crate) len: u64,
    /// Where they came from.
    pub(crate) origin: EndId,
    /// The place of the first byte there: offset in a file, stream position of a socket.
    pub(crate) position: u64,
    /// Which stream of a socket they came from; 0 for everything else.
    pub(crate) stream: u64,
    /// Where they lay in the last pipe that they went through.
    pub(crate) lane: Lane,
    /// Where they lie.
    pub(crate) place: Place,
    /// What happened to them.
    pub(crate) trail: TrailId,
}

impl Parcel {
    /// The first `len` bytes, and the rest.
    pub(crate) fn split(self, len: u64) -> (Self, Self) {
        debug_assert!(len <= self.len);
        (Self { len, ..self }, self.from(len))
    }

    /// All but the first `skip` bytes.
    #[inline]
    pub(crate) fn from(&self, skip: u64) -> Self {
        Self {
            len: self.len - skip,
            position: self.position.wrapping_add(skip),
            lane: self.lane.plus(skip),
            place: self.place.plus(skip),
            ..*self
        }
    }
}

/// Parcels, to be taken from the front in other pieces than they come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest<'a> {
    parcels: &'a [Parcel],
    /// Bytes of the first one that are taken already: fewer than it has.
    skip: u64,
}

impl<'a> Rest<'a> {
    /// All of them.
    pub(crate) fn new(parcels: &'a [Parcel]) -> Self {
        Self { parcels, skip: 0 }
    }

    /// The one that the next bytes are of.
    pub(crate) fn first(&self) -> Option<Parcel> {
        self.parcels.first().map(|first| first.from(self.skip))
    }

    /// The next bytes of one parcel, `most` at most.
    #[inline]
    pub(crate) fn next(&mut self, most: u64) -> Option<Parcel> {
        let (first, more) = self.parcels.split_first()?;
        let left = first.len - self.skip;
        let len = left.min(most);
        let next = Parcel {
            len,
            ..first.from(self.skip)
        };
        if len == left {
            (self.parcels, self.skip) = (more, 0);
        } else {
            self.skip += len;
        }
        Some(next)
    }

    /// Gives the next `len` bytes to `each`, as many parcels as they are; fewer if there are fewer.
    #[inline]
    pub(crate) fn take(&mut self, len: u64, mut each: impl FnMut(Parcel)) {
        let mut left = len;
        while left > 0 {
            let Some(parcel) = self.next(left) else { break };
            left -= parcel.len;
            each(parcel);
        }
    }

    /// All that is left.
    pub(crate) fn all(mut self) -> impl Iterator<Item = Parcel> {
        std::iter::from_fn(move || self.next(u64::MAX))
    }
}

/// How many bytes parcels have in all.
pub(crate) fn total<'a>(parcels: impl IntoIterator<Item = &'a Parcel>) -> u64 {
    parcels.into_iter().map(|parcel| parcel.len).sum()
}

/// Pages that a range touches.
pub(crate) fn pages(start: u64, len: u64) -> u64 {
    if len == 0 {
        return 0;
    }
    (start % PAGE + len).div_ceil(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::Trails;

    fn parcel(len: u64, position: u64) -> Parcel {
        Parcel {
            len,
            origin: EndId::MEMORY,
            position,
            stream: 0,
            lane: Lane::default(),
            place: Place::At(Address(position + 1_000_000)),
            trail: Trails::START,
        }
    }

    #[test]
    fn what_is_cut_off_knows_where_it_starts() {
        let (head, rest) = parcel(100, 7).split(40);
        assert_eq!((head.len, head.position), (40, 7));
        assert_eq!(
            (rest.len, rest.position, rest.place),
            (60, 47, Place::At(Address(1_000_047)))
        );
    }

    #[test]
    fn taking_neither_loses_nor_doubles_a_byte() {
        let parcels = [parcel(10, 0), parcel(5, 10), parcel(20, 15)];
        let mut rest = Rest::new(&parcels);
        let take = |rest: &mut Rest<'_>, len| {
            let mut taken = Vec::new();
            rest.take(len, |parcel| taken.push((parcel.position, parcel.len)));
            taken
        };
        assert_eq!(take(&mut rest, 12), [(0, 10), (10, 2)]);
        assert_eq!(rest.first().unwrap().position, 12);
        assert_eq!(rest.all().map(|parcel| parcel.len).sum::<u64>(), 23);
        assert_eq!(take(&mut rest, 1000), [(12, 3), (15, 20)]);
        assert!(rest.first().is_none() && rest.next(1).is_none());
    }

    #[test]
    fn a_range_touches_the_pages_it_lies_in() {
        assert_eq!(pages(0, 0), 0);
        assert_eq!(pages(0, 4096), 1);
        assert_eq!(pages(1, 4096), 2);
        assert_eq!(pages(4095, 2), 2);
        assert_eq!(pages(0, 65536), 16);
    }
}
