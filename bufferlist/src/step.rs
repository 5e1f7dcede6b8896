//! What a call returns: a step, and the side that it waits for.

use crate::receipt::Receipt;

/// Who must become ready before a step can move anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The source has nothing to give yet: wait until it can be read.
    Source,
    /// No pipe is free, and the pool was told to wait for one rather than copy
    /// ([`Pool::wait_when_empty`](crate::Pool::wait_when_empty)).
    Pipe,
    /// The sink has no room: wait until it can be written.
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

/// What one attempt did. A success of zero bytes does not exist.
///
/// Exhaustive on purpose: to forget a case is a compile error.
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
    /// Bytes went: at least one.
    Moved(Receipt),
    /// The source is at its end, or the list is empty: there is nothing to move, now or later.
    End,
    /// Nothing moved: this side must become ready first.
    Blocked(Side),
}

impl Step {
    /// The receipt of what moved; empty for the other cases.
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
