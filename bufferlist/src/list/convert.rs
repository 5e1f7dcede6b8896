//! Conversions from and to lists.

use super::BufferList;
use crate::segment::{FileExtent, Pages, Segment};
use bytes::Bytes;

/// Implements `From` for types that become a list of one segment.
macro_rules! from_one_segment {
    ($($type:ty),*) => {$(
        impl From<$type> for BufferList {
            fn from(segment: $type) -> Self {
                Segment::from(segment).into()
            }
        }
    )*};
}

from_one_segment!(Bytes, Vec<u8>, String, &'static [u8], &'static str, Pages, FileExtent);

impl From<Segment> for BufferList {
    fn from(segment: Segment) -> Self {
        let mut list = Self::new();
        list.push(segment);
        list
    }
}

impl<S: Into<Segment>> Extend<S> for BufferList {
    fn extend<I: IntoIterator<Item = S>>(&mut self, segments: I) {
        for segment in segments {
            self.push(segment);
        }
    }
}

impl<S: Into<Segment>> FromIterator<S> for BufferList {
    fn from_iter<I: IntoIterator<Item = S>>(segments: I) -> Self {
        let mut list = Self::new();
        list.extend(segments);
        list
    }
}

/// Iterator over the segments of a list, from the front. See [`BufferList::into_iter`].
#[derive(Debug)]
pub struct IntoIter(BufferList);

impl Iterator for IntoIter {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        self.0.rope.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.0.segments().len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for IntoIter {}

impl IntoIterator for BufferList {
    type Item = Segment;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self)
    }
}

/// Succeeds only where it needs no peek and no copy: for an empty list, or a list of one segment of
/// memory. The error is the unchanged list.
///
/// ```
/// use bufferlist::{BufferList, Segment};
/// use bytes::Bytes;
///
/// assert_eq!(Bytes::try_from(BufferList::from("one")).unwrap(), "one");
/// let zeros = Bytes::try_from(BufferList::from(Segment::zero(8))).unwrap_err();
/// assert_eq!(zeros.len(), 8);
/// ```
impl TryFrom<BufferList> for Bytes {
    type Error = BufferList;

    fn try_from(list: BufferList) -> Result<Self, BufferList> {
        if list.is_empty() {
            return Ok(Self::new());
        }
        let only = list.segments().next().filter(|_| list.segments().len() == 1);
        only.and_then(Segment::memory).ok_or(list)
    }
}
