//! Taking down what enters the account of each test, and making the report again from that alone: it must be the same.

use std::sync::{Arc, Mutex, PoisonError};

use probes::report::{Place, Report};
use probes::trace::{Account, Costs, Input, Losses, Preamble, Question, Recorder};
use probes_common::{PlainKey, PlainSum, SumRow};

/// An input, kept.
#[derive(Debug)]
enum Kept {
    Record(Vec<u8>),
    Plain(Vec<(PlainKey, PlainSum)>),
    Sums(Vec<(u64, SumRow)>),
    Losses(Vec<Losses>),
    Place(Question, Option<Place>),
    Costs(Costs),
    Time(u64),
    BeginAnew,
    End,
}

/// All that entered an account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape {
    preamble: Preamble,
    inputs: Arc<Mutex<Vec<Kept>>>,
}

impl Tape {
    pub(crate) fn new(preamble: &Preamble) -> Self {
        Self {
            preamble: preamble.clone(),
            inputs: Arc::default(),
        }
    }

    /// The report that the inputs give.
    pub(crate) fn report(&self, max_rows: usize) -> Report {
        let mut account = Account::new(self.preamble.clone());
        for kept in self.inputs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            account.take(match kept {
                Kept::Record(bytes) => Input::Record(bytes),
                Kept::Plain(sums) => Input::Plain(sums),
                Kept::Sums(rows) => Input::Sums(rows),
                Kept::Losses(rows) => Input::Losses(rows),
                Kept::Place(question, place) => Input::Place(*question, place.as_ref()),
                Kept::Costs(costs) => Input::Costs(*costs),
                Kept::Time(now_ns) => Input::Time(*now_ns),
                Kept::BeginAnew => Input::BeginAnew,
                Kept::End => Input::End,
            });
        }
        account.report(max_rows)
    }
}

impl Recorder for Tape {
    fn take(&mut self, input: &Input<'_>) {
        let kept = match *input {
            Input::Record(bytes) => Kept::Record(bytes.to_owned()),
            Input::Plain(sums) => Kept::Plain(sums.to_owned()),
            Input::Sums(rows) => Kept::Sums(rows.to_owned()),
            Input::Losses(rows) => Kept::Losses(rows.to_owned()),
            Input::Place(question, place) => Kept::Place(question, place.cloned()),
            Input::Costs(costs) => Kept::Costs(costs),
            Input::Time(now_ns) => Kept::Time(now_ns),
            Input::BeginAnew => Kept::BeginAnew,
            Input::End => Kept::End,
            ref other => panic!("an input that is not recorded: {other:?}"),
        };
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }
}
