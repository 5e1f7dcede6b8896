//! One run of a scenario: its pool, and the loops that a program would write, with checks after
//! every return.

use crate::fixtures::Fixtures;
use bufferlist::{BufferList, Counts, Error, ErrorKind, Pool, Receipt, Result, Sink, Source, Step, Transfer};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::unix::fs::FileExt;

/// A single fault is gone at the second attempt, a pair at the third; more failures will not end.
const ATTEMPTS: u32 = 6;

/// A persistent fault blocked the scenario, and every byte was where it should be.
pub(crate) struct GaveUp;

pub(crate) type Done<T = ()> = std::result::Result<T, GaveUp>;

/// The far side of a sink, and the bytes that arrived there.
pub(crate) struct Far {
    end: End,
    pub(crate) got: Vec<u8>,
}

enum End {
    Stream(Box<dyn Read>),
    File(File),
}

impl Far {
    /// A socket or pipe; `stream` is non-blocking.
    pub(crate) fn stream(stream: impl Read + 'static) -> Self {
        Self {
            end: End::Stream(Box::new(stream)),
            got: Vec::new(),
        }
    }

    /// A file, written from its start.
    pub(crate) fn file(file: File) -> Self {
        Self {
            end: End::File(file),
            got: Vec::new(),
        }
    }

    /// Receives what has arrived, and returns the total since the beginning.
    pub(crate) fn total(&mut self) -> u64 {
        loop {
            let held = self.got.len();
            self.got.resize(held + 64 * 1024, 0);
            let result = match &mut self.end {
                End::Stream(stream) => stream.read(&mut self.got[held..]),
                End::File(file) => file.read_at(&mut self.got[held..], held as u64),
            };
            self.got.truncate(held + *result.as_ref().unwrap_or(&0));
            match result {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == IoErrorKind::WouldBlock => break,
                Err(error) => panic!("read what arrived: {error}"),
            }
        }
        self.got.len() as u64
    }
}

/// Checks the content of a list.
pub(crate) fn holds(list: &BufferList, expected: &[u8]) {
    assert_eq!(list.len(), expected.len() as u64);
    assert!(contents(list) == expected, "the list holds other bytes");
    let sum: u64 = list.segments().map(bufferlist::Segment::len).sum();
    assert_eq!(sum, list.len());
    assert!(list.segments().all(|segment| !segment.is_empty()));
}

/// Checks that the delivered bytes and those in the list are together `expected`.
fn adds_up(far: &mut Far, list: &BufferList, expected: &[u8]) {
    far.total();
    let (arrived, rest) = expected.split_at(far.got.len());
    assert!(far.got == arrived, "other bytes arrived");
    holds(list, rest);
}

/// Returns the content of a list, read on a thread that has no fault plan.
fn contents(list: &BufferList) -> Vec<u8> {
    std::thread::scope(|scope| {
        let peek = scope.spawn(|| list.to_bytes().expect("peek at the list").to_vec());
        peek.join().expect("thread")
    })
}

/// One run of a scenario.
pub(crate) struct Case<'a> {
    pub(crate) fixtures: &'a Fixtures,
    pub(crate) pool: Pool,
    /// Peeks at the list after every error. A peek changes which pipes exist, so each case also
    /// runs without it.
    pub(crate) inspects: bool,
    /// The fault persists, and there may be no way around it.
    pub(crate) may_give_up: bool,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) counts: Vec<Counts>,
    /// Bytes that the scenario moved or peeked at: the bound for copies.
    pub(crate) volume: u64,
}

impl<'a> Case<'a> {
    pub(crate) fn new(fixtures: &'a Fixtures, inspects: bool, may_give_up: bool) -> Self {
        Self {
            fixtures,
            pool: Pool::new(12, 16 << 20),
            inspects,
            may_give_up,
            receipts: Vec::new(),
            counts: Vec::new(),
            volume: 0,
        }
    }

    pub(crate) fn data(&self, len: usize) -> &'a [u8] {
        &self.fixtures.data[..len]
    }

    /// Records the copies of a list that is no longer needed.
    pub(crate) fn end(&mut self, list: &BufferList) {
        self.counts.push(list.counts());
    }

    /// Starts another attempt, unless there were too many.
    pub(crate) fn again(&self, failed: &mut u32, error: Option<&Error>) -> Done {
        if let Some(error) = error {
            // No scenario shortens a file, leaves a hole unfilled, or has a blocking descriptor.
            assert!(
                !matches!(
                    error.kind(),
                    ErrorKind::Truncated | ErrorKind::Hole | ErrorKind::BlockingFd | ErrorKind::Forked
                ),
                "{error}"
            );
            assert_ne!(
                error.raw_os_error(),
                Some(Errno::INTR.raw_os_error()),
                "an interrupted call is repeated, not reported"
            );
        }
        *failed += 1;
        if *failed < ATTEMPTS {
            return Ok(());
        }
        assert!(self.may_give_up, "no end in sight: {error:?}");
        Err(GaveUp)
    }

    /// Repeats an operation that changes nothing until it succeeds, such as opening an endpoint.
    pub(crate) fn retry<T>(&self, mut work: impl FnMut() -> Result<T>) -> Done<T> {
        let mut failed = 0;
        loop {
            match work() {
                Ok(value) => return Ok(value),
                Err(error) => self.again(&mut failed, Some(&error))?,
            }
        }
    }

    /// Peeks at a list of `expected` bytes, or changes its representation.
    pub(crate) fn peek<T>(
        &mut self,
        list: &mut BufferList,
        expected: &[u8],
        mut work: impl FnMut(&mut BufferList) -> Result<T>,
    ) -> Done<T> {
        self.volume += expected.len() as u64;
        let mut failed = 0;
        loop {
            match work(list) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    assert_eq!(error.receipt().total(), 0);
                    assert_eq!(list.len(), expected.len() as u64);
                    let again = self.again(&mut failed, Some(&error));
                    if self.inspects || again.is_err() {
                        holds(list, expected);
                    }
                    again?;
                }
            }
        }
    }

    /// Fills `list` to the end of the source, in pieces of `piece` bytes. `untaken` returns the
    /// bytes left in the source.
    pub(crate) fn fill<F: AsFd>(
        &mut self,
        list: &mut BufferList,
        source: &mut Source<F>,
        piece: u64,
        model: &[u8],
        untaken: impl Fn(&Source<F>) -> u64,
    ) -> Done {
        let mut failed = 0;
        loop {
            let len = list.len();
            let step = list.splice_from(source, piece);
            assert_eq!(list.len() + untaken(source), model.len() as u64, "after {step:?}");
            match step {
                Ok(Step::End) => {
                    assert_eq!(list.len(), model.len() as u64, "the source is not at its end");
                    break;
                }
                Ok(Step::Moved(receipt)) => {
                    assert!(receipt.total() > 0 && receipt.total() <= piece);
                    assert_eq!(list.len(), len + receipt.total());
                    self.volume += receipt.total();
                    self.receipts.push(receipt);
                    failed = 0;
                }
                Ok(Step::Blocked(_)) => {
                    assert_eq!(list.len(), len);
                    self.again(&mut failed, None)?;
                }
                Err(error) => {
                    assert_eq!((list.len(), error.receipt().total()), (len, 0));
                    let again = self.again(&mut failed, Some(&error));
                    if self.inspects || again.is_err() {
                        holds(list, &model[..len as usize]);
                    }
                    again?;
                }
            }
        }
        Ok(())
    }

    /// Sends all of `list` to the sink. `expected` is the total that the far side has afterwards.
    pub(crate) fn send<F: AsFd>(
        &mut self,
        list: &mut BufferList,
        sink: &mut Sink<F>,
        far: &mut Far,
        expected: &[u8],
    ) -> Done {
        let mut failed = 0;
        loop {
            let (len, got, position) = (list.len(), far.total(), sink.position());
            assert_eq!(len + got, expected.len() as u64);
            let step = list.splice_to(sink);
            let now = far.total();
            match step {
                Ok(Step::End) => {
                    assert_eq!((len, now), (0, got));
                    break;
                }
                Ok(Step::Moved(receipt)) => {
                    assert!(receipt.total() > 0);
                    assert_eq!(now, got + receipt.total(), "bytes arrived other than the receipt says");
                    assert_eq!(list.len(), len - receipt.total());
                    assert_eq!(sink.position(), position.map(|at| at + receipt.total()));
                    self.volume += receipt.total();
                    self.receipts.push(receipt);
                    failed = 0;
                }
                Ok(Step::Blocked(_)) => {
                    assert_eq!((list.len(), now, sink.position()), (len, got, position));
                    self.again(&mut failed, None)
                        .inspect_err(|_| adds_up(far, list, expected))?;
                }
                Err(error) => {
                    assert_eq!(
                        (list.len(), now, sink.position()),
                        (len, got, position),
                        "an error that moved something: {error}"
                    );
                    assert_eq!(error.receipt().total(), 0);
                    if error.kind() == ErrorKind::Misaligned && failed > 1 {
                        // The kind that the error message names.
                        self.volume += len;
                        let _ = list.rebuild_aligned(bufferlist::Alignment::PAGE);
                        assert_eq!(list.len(), len);
                    }
                    let again = self.again(&mut failed, Some(&error));
                    if self.inspects || again.is_err() {
                        adds_up(far, list, expected);
                    }
                    again?;
                }
            }
        }
        assert!(far.got == expected, "other bytes arrived");
        Ok(())
    }

    /// Steps or runs a transfer to its end. `expected` is the total that arrives.
    pub(crate) fn transfer<S: AsFd, D: AsFd>(
        &mut self,
        transfer: &mut Transfer<S, D>,
        far: &mut Far,
        expected: &[u8],
        runs: bool,
    ) -> Done {
        let mut failed = 0;
        loop {
            let (flight, got) = (transfer.in_flight().len(), far.total());
            let step = if runs {
                transfer.run().map(|_| Step::End)
            } else {
                transfer.step()
            };
            let now = far.total();
            assert_eq!(transfer.receipt().total(), now, "after {step:?}");
            match &step {
                Ok(Step::End) => {
                    assert!(transfer.in_flight().is_empty());
                    break;
                }
                Ok(Step::Moved(receipt)) => {
                    assert_eq!(now, got + receipt.total());
                    assert!(receipt.total() > 0);
                    failed = 0;
                    continue;
                }
                Ok(Step::Blocked(_)) => assert_eq!(now, got),
                Err(error) if runs => assert_eq!(error.receipt().total(), now),
                Err(error) => assert_eq!((now, error.receipt().total()), (got, 0), "{error}"),
            }
            if !runs {
                assert!(transfer.in_flight().len() >= flight, "bytes in flight were lost");
            }
            let again = self.again(&mut failed, step.as_ref().err());
            if self.inspects || again.is_err() {
                let end = far.got.len() + transfer.in_flight().len() as usize;
                adds_up(far, transfer.in_flight(), &expected[..end]);
            }
            again?;
        }
        assert!(far.got == expected, "other bytes arrived");
        self.volume += 2 * far.got.len() as u64;
        self.receipts.push(transfer.receipt());
        self.counts.push(transfer.counts());
        Ok(())
    }
}
