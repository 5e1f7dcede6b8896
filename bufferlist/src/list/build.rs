//! Building lists: headers in front, holes for bytes that come later, and `io::Write`.

use super::BufferList;
use crate::segment::{Body, Hole, Segment};
use bytes::{BufMut, BytesMut};
use std::io;

/// Bytes that `io::Write` allocates at a time: a page, shared by many small writes.
const TAILROOM_LEN: usize = 4096;

impl BufferList {
    /// Creates an empty list with room for `bytes` of headers, so that [`prepend`](Self::prepend)
    /// does not allocate.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::with_headroom(16);
    /// list.push("body");
    /// list.prepend(b"len=4 ");
    /// assert_eq!(&list.to_bytes()?[..], b"len=4 body");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn with_headroom(bytes: usize) -> Self {
        let mut list = Self::new();
        // Split at once, because the first split of a new allocation makes it shareable, which
        // allocates.
        let mut room = BytesMut::zeroed(bytes);
        let _ = room.split_off(bytes);
        list.headroom = room;
        // Room for a few headers and a body.
        list.rope.reserve(4);
        list
    }

    /// Copies `header` to the front of the list, into its headroom if there is enough.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::from("body");
    /// list.prepend(b"header ");
    /// assert_eq!(list.len(), 11);
    /// ```
    pub fn prepend(&mut self, header: &[u8]) {
        if header.len() <= self.headroom.len() {
            let mut room = self.headroom.split_off(self.headroom.len() - header.len());
            room.copy_from_slice(header);
            self.push_front(room.freeze());
        } else {
            self.push_front(header.to_vec());
        }
    }

    /// Appends `len` bytes that are filled in later: see [`Hole`].
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::new();
    /// let checksum = list.hole(4);
    /// list.push("body");
    /// checksum.fill(&[1, 2, 3, 4]);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn hole(&mut self, len: usize) -> Hole {
        let (hole, range) = Hole::new(len);
        self.push(Segment::new(Body::Hole(range)));
        hole
    }

    /// Copies `bytes` to the end of the list, into a buffer that small pieces share.
    ///
    /// ```
    /// # use bufferlist::BufferList;
    /// let mut list = BufferList::new();
    /// list.extend_from_slice(b"borrowed bytes");
    /// assert_eq!(list.len(), 14);
    /// ```
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if bytes.len() >= TAILROOM_LEN {
            self.push(bytes.to_vec());
            return;
        }
        if self.tailroom.capacity() < bytes.len() {
            self.tailroom = BytesMut::with_capacity(TAILROOM_LEN);
        }
        self.tailroom.put_slice(bytes);
        let written = self.tailroom.split().freeze();
        self.push(written);
    }
}

/// Appends by copying. Never fails.
///
/// ```
/// use std::io::Write;
///
/// let mut list = bufferlist::BufferList::new();
/// write!(list, "HTTP/1.1 {} {}\r\n", 200, "OK")?;
/// assert_eq!(list.len(), 17);
/// # std::io::Result::Ok(())
/// ```
impl io::Write for BufferList {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
