//! The receipt of what a call did.

use crate::endpoint::kind::Endpoint;
use crate::oracle::{self, Finding};
use crate::reason::Reason;
use std::fmt;
use std::ops::AddAssign;

/// Bytes that went by splice between one pair of ends. Whether that was by reference, the oracle is asked later.
#[derive(Clone, Copy, Default)]
struct SplicedBytes {
    from: Endpoint,
    to: Endpoint,
    bytes: u64,
}

/// How many different pairs of ends a receipt keeps apart. A list seldom has more than two origins (a header's memory
/// and a body's file); what exceeds this is counted as unknown, never as moved.
const MAX_PAIRS: usize = 3;

/// How many reasons of copies a receipt keeps apart.
const MAX_REASONS: usize = 3;

/// What this library knows of the bytes that a call moved: `moved + copied + unknown == total`, always.
///
/// *moved* is said only of pairs of ends that the [mutation oracle](crate::oracle) has shown to share pages on this boot
/// of this kernel, never because a call was named splice. The oracle is asked at the first *question*
/// ([`moved`](Self::moved), [`copied`](Self::copied), [`unknown`](Self::unknown), [`reason`](Self::reason)), which costs
/// a few milliseconds once per pair of ends and process; [`total`](Self::total) asks nobody. Where the oracle cannot run
/// or has no way to see (a device, another host), the answer is *unknown*, with its reason. Receipts speak of whole pages
/// between kinds of ends; the very pages only tracing in the kernel can prove.
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
    claims: [SplicedBytes; MAX_PAIRS],
    /// Bytes that this library copied, by reason; the last place takes what finds none of its own.
    copies: [Option<(Reason, u64)>; MAX_REASONS],
    /// Bytes of more pairs of ends than are kept apart.
    unknown: u64,
}

impl Receipt {
    /// Bytes have gone by splice from one kind of end to another.
    #[inline]
    pub(crate) fn add_spliced(&mut self, from: Endpoint, to: Endpoint, bytes: u64) {
        self.add_spliced_bytes(SplicedBytes { from, to, bytes });
    }

    /// Bytes that this library copied itself.
    pub(crate) fn copied_for(reason: Reason, bytes: u64) -> Self {
        let mut receipt = Self::default();
        receipt.add_copied(reason, bytes);
        receipt
    }

    /// This library has copied bytes itself.
    #[inline]
    pub(crate) fn add_copied(&mut self, reason: Reason, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let last = self.copies.len() - 1;
        for (at, place) in self.copies.iter_mut().enumerate() {
            match place {
                None => {
                    *place = Some((reason, bytes));
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
        for claim in &mut self.claims {
            if claim.bytes == 0 {
                *claim = new;
                return;
            }
            if claim.from == new.from && claim.to == new.to {
                claim.bytes += new.bytes;
                return;
            }
        }
        self.unknown += new.bytes;
    }

    /// What the oracle says of each claim.
    fn findings(&self) -> impl Iterator<Item = (Finding, u64)> {
        self.claims
            .iter()
            .filter(|claim| claim.bytes > 0)
            .map(|claim| (oracle::finding(claim.from, claim.to), claim.bytes))
    }

    /// All the bytes, whatever became of them. Asks nobody.
    ///
    /// ```
    /// assert_eq!(bufferlist::Receipt::default().total(), 0);
    /// ```
    pub fn total(&self) -> u64 {
        self.own_copies() + self.unknown + self.claims.iter().map(|claim| claim.bytes).sum::<u64>()
    }

    /// Bytes that went by page reference, as the oracle has shown for their pair of ends.
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

    /// Bytes that were copied: by this library, or by the kernel as the oracle has shown.
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

    /// Bytes of which it is not known.
    ///
    /// ```
    /// assert_eq!(bufferlist::Receipt::default().unknown(), 0);
    /// ```
    pub fn unknown(&self) -> u64 {
        self.total() - self.moved() - self.copied()
    }

    /// Why something was copied, or is not known: the reason of a copy before that of a doubt. `None` if all moved.
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

    /// Every reason with its bytes: copies before doubts. What moved has none.
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
        let mut doubts = Vec::new();
        for (finding, bytes) in self.findings() {
            match finding {
                Finding::Copied(reason) => add_reason(&mut copies, reason, bytes),
                Finding::Unknown(reason) => add_reason(&mut doubts, reason, bytes),
                Finding::Moved => {}
            }
        }
        add_reason(&mut doubts, Reason::NotShown, self.unknown);
        copies.append(&mut doubts);
        copies
    }
}

/// Adds bytes to those of the same reason.
fn add_reason(reasons: &mut Vec<(Reason, u64)>, reason: Reason, bytes: u64) {
    match reasons.iter_mut().find(|known| known.0 == reason) {
        Some(known) => known.1 += bytes,
        None if bytes > 0 => reasons.push((reason, bytes)),
        None => {}
    }
}

impl AddAssign for Receipt {
    fn add_assign(&mut self, other: Self) {
        // They are packed to the front, and most often there is one.
        for claim in other.claims.iter().take_while(|claim| claim.bytes > 0) {
            self.add_spliced_bytes(*claim);
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

/// Shows what is recorded, without asking the oracle: a debug line must not move canaries about.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Receipt");
        debug.field("total", &self.total());
        for claim in self.claims.iter().filter(|claim| claim.bytes > 0) {
            debug.field(
                "spliced",
                &format_args!("{} from {:?} to {:?}", claim.bytes, claim.from, claim.to),
            );
        }
        for (reason, bytes) in self.copies.iter().flatten() {
            debug.field("copied", &format_args!("{bytes} for {reason}"));
        }
        debug.field("unknown", &self.unknown).finish()
    }
}
