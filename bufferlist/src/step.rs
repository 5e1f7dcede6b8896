//! The result of a step, and the side that it may be blocked on.

use crate::receipt::Receipt;

/// Side that must become ready before a step can move any byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The source has no bytes yet: wait until it is readable.
    Source,
    /// No pipe is idle, and the pool is configured to wait for one instead of copying
    /// ([`Pool::wait_when_empty`](crate::Pool::wait_when_empty)).
    Pipe,
    /// The sink accepts no bytes yet: wait until it is writable.
    Sink,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Pipe => "pipe",
            Self::Sink => "sink",
        }
    }
}

/// Result of one attempt to move bytes. Never a success of zero bytes.
///
/// Exhaustive on purpose: a missing match arm is a compile error.
///
/// ```
/// use bufferlist::{BufferList, Nonblocking, Side, Source, Step};
///
/// let (read, _write) = std::io::pipe()?;
/// let mut source = Source::stream(Nonblocking::enter(read)?)?;
/// match BufferList::new().splice_from(&mut source, 4096)? {
///     Step::Moved(receipt) => println!("{} bytes", receipt.total()),
///     Step::End => println!("no more will come"),
///     Step::Blocked(side) => assert_eq!(side, Side::Source),
/// }
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a step may have moved nothing"]
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// At least one byte moved.
    Moved(Receipt),
    /// The source is at its end, or the list is empty: no byte is left to move, now or later.
    End,
    /// No byte moved: this side must become ready first.
    Blocked(Side),
}

impl Step {
    /// Returns the receipt of the bytes that moved; an empty one unless the step is
    /// [`Moved`](Self::Moved).
    ///
    /// ```
    /// # use bufferlist::Step;
    /// assert_eq!(Step::End.receipt().total(), 0);
    /// ```
    pub fn receipt(&self) -> Receipt {
        match self {
            Self::Moved(receipt) => *receipt,
            Self::End | Self::Blocked(_) => Receipt::default(),
        }
    }
}
