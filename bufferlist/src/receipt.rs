//! The receipt of an operation: the bytes it moved, copied, or cannot account for.

use crate::endpoint::kind::Endpoint;
use crate::oracle::{self, Finding};
use crate::reason::Reason;
use std::fmt;
use std::ops::AddAssign;

/// Bytes that were spliced between one pair of endpoints. The oracle decides later whether that was
/// by reference.
#[derive(Clone, Copy, Default)]
struct SplicedBytes {
    from: Endpoint,
    to: Endpoint,
    bytes: u64,
}

/// Number of pairs of endpoints that a receipt keeps apart. A list seldom has more than two origins
/// (a header's memory and a body's file). Bytes of further pairs are counted as unknown, never as
/// moved.
const MAX_PAIRS: usize = 3;

/// Number of copy reasons that a receipt keeps apart.
const MAX_REASONS: usize = 3;

/// Account of the bytes that an operation moved.
///
/// The invariant `moved + copied + unknown == total` always holds.
///
/// A byte counts as *moved* only if the [mutation oracle](crate::oracle) has shown, on this boot of
/// this kernel, that its pair of endpoints shares pages. A successful splice(2) alone proves
/// nothing: the kernel copies inside splice for many pairs, and reports nothing about it.
///
/// # Why reading a receipt runs the oracle
///
/// A receipt stores only facts: how many bytes were spliced between which pair of endpoints, and
/// how many this library copied itself. It does not store a verdict, because the verdict for a pair
/// takes an experiment of a few milliseconds, and operations must not pay for a verdict that the
/// program never reads. [`moved`](Self::moved), [`copied`](Self::copied),
/// [`unknown`](Self::unknown) and [`reason`](Self::reason) therefore ask the oracle for the
/// verdict, which it determines once per pair of endpoints and process. [`total`](Self::total) and
/// the `Debug` output never ask it. This is the only place where plain data depends on the oracle,
/// and the oracle in turn runs experiments on files, pipes and sockets.
///
/// Where the oracle cannot run or has no means to observe (a device, another host), the bytes are
/// *unknown*, with a reason. A receipt speaks of whole pages between kinds of endpoints; only
/// tracing in the kernel can prove what happened to individual pages.
///
/// ```
/// use bufferlist::{Sink, Source, transfer};
/// use std::io::Write;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"some bytes")?;
/// let (near, _far) = std::os::unix::net::UnixStream::pair()?;
/// let receipt = transfer(Source::file(&file, ..)?, Sink::stream(&near)?)?;
/// assert_eq!(receipt.total(), 10);
/// assert_eq!(receipt.moved() + receipt.copied() + receipt.unknown(), receipt.total());
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct Receipt {
    spliced: [SplicedBytes; MAX_PAIRS],
    /// Bytes copied by this library, by reason. The last entry takes every reason that has no entry
    /// of its own.
    copies: [Option<(Reason, u64)>; MAX_REASONS],
    /// Bytes of pairs of endpoints beyond [`MAX_PAIRS`].
    unknown: u64,
}

impl Receipt {
    /// Records bytes that were spliced from one endpoint to another.
    #[inline]
    pub(crate) fn add_spliced(&mut self, from: Endpoint, to: Endpoint, bytes: u64) {
        self.add_spliced_bytes(SplicedBytes { from, to, bytes });
    }

    /// Creates a receipt of bytes that this library copied itself.
    pub(crate) fn copied_for(reason: Reason, bytes: u64) -> Self {
        let mut receipt = Self::default();
        receipt.add_copied(reason, bytes);
        receipt
    }

    /// Records bytes that this library copied itself.
    #[inline]
    pub(crate) fn add_copied(&mut self, reason: Reason, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let last = self.copies.len() - 1;
        for (at, entry) in self.copies.iter_mut().enumerate() {
            match entry {
                None => {
                    *entry = Some((reason, bytes));
                    return;
                }
                Some((known, sum)) if *known == reason || at == last => {
                    *sum += bytes;
                    return;
                }
                Some(_) => {}
            }
        }
    }

    fn own_copies(&self) -> u64 {
        self.copies.iter().flatten().map(|(_, bytes)| bytes).sum()
    }

    fn add_spliced_bytes(&mut self, new: SplicedBytes) {
        if new.bytes == 0 {
            return;
        }
        for pair in &mut self.spliced {
            if pair.bytes == 0 {
                *pair = new;
                return;
            }
            if pair.from == new.from && pair.to == new.to {
                pair.bytes += new.bytes;
                return;
            }
        }
        self.unknown += new.bytes;
    }

    /// Asks the oracle about each pair of endpoints.
    fn findings(&self) -> impl Iterator<Item = (Finding, u64)> {
        self.spliced
            .iter()
            .filter(|pair| pair.bytes > 0)
            .map(|pair| (oracle::finding(pair.from, pair.to), pair.bytes))
    }

    /// Returns the number of all bytes. Never runs the oracle.
    ///
    /// ```
    /// assert_eq!(bufferlist::Receipt::default().total(), 0);
    /// ```
    pub fn total(&self) -> u64 {
        self.own_copies() + self.unknown + self.spliced.iter().map(|pair| pair.bytes).sum::<u64>()
    }

    /// Returns the number of bytes that moved by page reference, as the oracle has shown for their
    /// pair of endpoints.
    ///
    /// ```
    /// assert_eq!(bufferlist::Receipt::default().moved(), 0);
    /// ```
    pub fn moved(&self) -> u64 {
        self.findings()
            .filter(|(finding, _)| matches!(finding, Finding::Moved))
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// Returns the number of bytes that were copied: by this library, or by the kernel as the
    /// oracle has shown.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Sink};
    /// let mut list = BufferList::from("from memory");
    /// let file = tempfile::tempfile()?;
    /// let step = list.splice_to(&mut Sink::file(&file, 0)?)?;
    /// assert_eq!(step.receipt().copied(), 11);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn copied(&self) -> u64 {
        let by_kernel: u64 = self
            .findings()
            .filter(|(finding, _)| matches!(finding, Finding::Copied(_)))
            .map(|(_, bytes)| bytes)
            .sum();
        self.own_copies() + by_kernel
    }

    /// Returns the number of bytes that are neither known to have moved nor known to have been
    /// copied.
    ///
    /// ```
    /// assert_eq!(bufferlist::Receipt::default().unknown(), 0);
    /// ```
    pub fn unknown(&self) -> u64 {
        self.total() - self.moved() - self.copied()
    }

    /// Returns why bytes were copied or are unknown. Reasons of copies take precedence. `None` if
    /// all bytes moved.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Reason, Sink};
    /// let mut list = BufferList::from("from memory");
    /// let file = tempfile::tempfile()?;
    /// let step = list.splice_to(&mut Sink::file(&file, 0)?)?;
    /// assert_eq!(step.receipt().reason(), Some(Reason::FromMemory));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reason(&self) -> Option<Reason> {
        self.reasons().first().map(|(reason, _)| *reason)
    }

    /// Returns every reason with its bytes, copies before unknowns. Moved bytes have no reason.
    ///
    /// ```
    /// # use bufferlist::{BufferList, Reason, Sink};
    /// let mut list = BufferList::from("from memory");
    /// let file = tempfile::tempfile()?;
    /// let step = list.splice_to(&mut Sink::file(&file, 0)?)?;
    /// assert_eq!(step.receipt().reasons(), [(Reason::FromMemory, 11)]);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reasons(&self) -> Vec<(Reason, u64)> {
        let mut copies: Vec<(Reason, u64)> = self.copies.iter().flatten().copied().collect();
        let mut unknowns = Vec::new();
        for (finding, bytes) in self.findings() {
            match finding {
                Finding::Copied(reason) => add_reason(&mut copies, reason, bytes),
                Finding::Unknown(reason) => add_reason(&mut unknowns, reason, bytes),
                Finding::Moved => {}
            }
        }
        add_reason(&mut unknowns, Reason::NotShown, self.unknown);
        copies.append(&mut unknowns);
        copies
    }
}

/// Adds bytes to the entry of a reason.
fn add_reason(reasons: &mut Vec<(Reason, u64)>, reason: Reason, bytes: u64) {
    match reasons.iter_mut().find(|known| known.0 == reason) {
        Some(known) => known.1 += bytes,
        None if bytes > 0 => reasons.push((reason, bytes)),
        None => {}
    }
}

impl AddAssign for Receipt {
    fn add_assign(&mut self, other: Self) {
        // Used entries are at the front, and usually there is one.
        for pair in other.spliced.iter().take_while(|pair| pair.bytes > 0) {
            self.add_spliced_bytes(*pair);
        }
        for (reason, bytes) in other.copies.into_iter().flatten() {
            self.add_copied(reason, bytes);
        }
        self.unknown += other.unknown;
    }
}

impl std::iter::Sum for Receipt {
    fn sum<I: Iterator<Item = Self>>(receipts: I) -> Self {
        let mut sum = Self::default();
        for receipt in receipts {
            sum += receipt;
        }
        sum
    }
}

/// Formats the recorded facts without running the oracle: debug output must have no side effects.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Receipt");
        debug.field("total", &self.total());
        for pair in self.spliced.iter().filter(|pair| pair.bytes > 0) {
            debug.field(
                "spliced",
                &format_args!("{} from {:?} to {:?}", pair.bytes, pair.from, pair.to),
            );
        }
        for (reason, bytes) in self.copies.iter().flatten() {
            debug.field("copied", &format_args!("{bytes} for {reason}"));
        }
        debug.field("unknown", &self.unknown).finish()
    }
}
