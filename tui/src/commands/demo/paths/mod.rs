//! The paths of the demo, and what each brings home.

mod chain;
mod fan_out;
mod memory;
mod peek;
mod socket;

use std::panic::resume_unwind;
use std::thread::{ScopedJoinHandle, scope};

use bufferlist::Receipt;
use bufferlist::oracle::Verdict;
use zctrace_report::text::printable;
use zctrace_report::{Call, End, EndKind, Flow, Look, OracleWord, Segment};

use super::fixture::{Cause, Stage};
use super::judge::{self, Judgement, Leg};
use super::payload::Arrival;

/// A path of the demo.
pub(crate) struct Path {
    /// Its name, which is what is shown if it cannot run.
    pub(crate) name: &'static str,
    /// Runs it.
    pub(crate) run: fn(&Stage) -> Result<Vec<Done>, Cause>,
}

/// All paths, in the order in which they run.
pub(crate) const ALL: [Path; 11] = [
    Path {
        name: chain::TO_FILE,
        run: chain::to_file,
    },
    Path {
        name: chain::TO_DISK,
        run: chain::to_disk,
    },
    Path {
        name: socket::SENDFILE,
        run: socket::sendfile,
    },
    Path {
        name: socket::RELAY,
        run: socket::relay,
    },
    Path {
        name: socket::THROUGH_UNIX,
        run: socket::through_unix,
    },
    Path {
        name: memory::LENT,
        run: memory::lent,
    },
    Path {
        name: memory::TO_DISK,
        run: memory::to_disk,
    },
    Path {
        name: fan_out::NAME,
        run: fan_out::two_sinks,
    },
    Path {
        name: peek::ON_THE_WAY,
        run: peek::on_the_way,
    },
    Path {
        name: peek::STRATEGIES,
        run: peek::strategies,
    },
    Path {
        name: memory::WRITTEN,
        run: memory::written,
    },
];

/// What a path brought home: a row.
pub(crate) struct Done {
    /// What the report says of it.
    pub(crate) flow: Flow,
    /// Looks on the way.
    pub(crate) looks: Vec<Look>,
    /// The largest of the segments that the bytes of the last leg were.
    pub(crate) segments: Vec<Segment>,
    /// Whether it did what it says.
    pub(crate) judgement: Judgement,
    /// A remark for the reader.
    pub(crate) note: Option<String>,
    /// What the library says of each transfer of the path, in order.
    pub(crate) legs: Vec<Leg>,
}

/// A path that has been run and not yet judged.
struct Trip {
    name: &'static str,
    stations: Vec<EndKind>,
    from: String,
    to: String,
    calls: Vec<Call>,
    /// How many bytes it was to carry.
    len: u64,
    receipts: Vec<Receipt>,
    arrival: Arrival,
    oracle: Result<Verdict, Cause>,
}

impl Trip {
    /// Asks the receipts, compares the content, and judges.
    fn done(self, stage: &Stage) -> Done {
        let end = |kind: Option<&EndKind>, name: &str| End::new(kind.cloned().unwrap_or(EndKind::Various), name);
        let mut flow = Flow::new(
            end(self.stations.first(), &printable(&self.from)),
            end(self.stations.last(), &printable(&self.to)),
        );
        flow.name = Some(self.name.to_owned());
        flow.path = self.stations;
        flow.pid = Some(std::process::id());
        "zctrace".clone_into(&mut flow.process);
        flow.call_names = self.calls;
        let legs: Vec<Leg> = self.receipts.into_iter().map(Leg::from).collect();
        judge::set_account(&mut flow, self.arrival.bytes(), &legs);
        flow.content_ok = Some(stage.content().is(&self.arrival, self.len));
        flow.oracle = Some(
            self.oracle
                .as_ref()
                .map_or(OracleWord::NotAsked, |&verdict| judge::word(verdict)),
        );
        let mute = self.oracle.err().map(|cause| cause.to_string());
        let judgement = judge::judge(&flow, self.len, &legs, mute.as_deref());
        Done {
            flow,
            looks: Vec::new(),
            segments: Vec::new(),
            judgement,
            note: None,
            legs,
        }
    }
}

/// Sends and receives at the same time. If both fail, what the receiver says is the cause: a sender only sees it go.
fn at_once<S, R: Send>(
    send: impl FnOnce() -> Result<S, Cause>,
    receive: impl FnOnce() -> Result<R, Cause> + Send,
) -> Result<(S, R), Cause> {
    scope(|threads| {
        let far = threads.spawn(receive);
        let near = send();
        let far = joined(far)?;
        Ok((near?, far))
    })
}

/// The result of a thread. Its panic is ours.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
