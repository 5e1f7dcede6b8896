//! Hex dumps, in the format of `hexdump -C`.

use crate::error::Result;
use crate::journal::{ApiCall, Caller};
use crate::list::BufferList;
use crate::range;
use crate::reason::Reason;
use std::fmt::Write;
use std::ops::RangeBounds;

/// Bytes per row.
const ROW: usize = 16;

impl BufferList {
    /// Formats a range as text: offset, sixteen bytes, characters. Rows equal to the previous one
    /// are folded into `*`. Offsets are those of the list. The method peeks at the range, at the
    /// cost of [`peek`](Self::peek).
    ///
    /// # Panics
    ///
    /// Panics if the range is out of bounds.
    ///
    /// # Errors
    ///
    /// Fails like [`peek`](Self::peek).
    ///
    /// ```
    /// let text = bufferlist::BufferList::from("some bytes\n").hexdump(..)?;
    /// assert_eq!(text, "\
    /// 00000000  73 6f 6d 65 20 62 79 74  65 73 0a                 |some bytes.|
    /// 0000000b
    /// ");
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn hexdump(&self, range: impl RangeBounds<u64>) -> Result<String> {
        let range = range::resolve_in_bounds(&range, self.len());
        let start = range.start;
        let bytes = self
            .view(range, Reason::Peeked, Caller::of(ApiCall::Hexdump))?
            .into_bytes();
        let mut text = String::new();
        let mut folded = false;
        let mut last: Option<&[u8]> = None;
        for (number, row) in bytes.chunks(ROW).enumerate() {
            if last == Some(row) {
                if !folded {
                    text.push_str("*\n");
                }
                folded = true;
                continue;
            }
            folded = false;
            last = Some(row);
            write_row(&mut text, start + (number * ROW) as u64, row);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:08x}", start + bytes.len() as u64);
        Ok(text)
    }
}

/// Writes one row.
fn write_row(text: &mut String, offset: u64, row: &[u8]) {
    let _ = write!(text, "{offset:08x} ");
    for at in 0..ROW {
        if at % 8 == 0 {
            text.push(' ');
        }
        let _ = match row.get(at) {
            Some(byte) => write!(text, "{byte:02x} "),
            None => write!(text, "   "),
        };
    }
    text.push_str(" |");
    text.extend(row.iter().map(|&byte| {
        if (b' '..=b'~').contains(&byte) {
            char::from(byte)
        } else {
            '.'
        }
    }));
    text.push_str("|\n");
}
