//! The paths of the demo, and their results.

mod chain;
mod fan_out;
mod memory;
mod peek;
mod socket;

use std::panic::resume_unwind;
use std::thread::{ScopedJoinHandle, scope};

use bufferlist::Receipt;
use bufferlist::oracle::Verdict;
use zctrace_report::format::printable;
use zctrace_report::{Call, Endpoint, EndpointKind, Flow, OracleVerdict, Peek, Segment};

use super::fixture::{DemoError, Fixture};
use super::judge::{self, Judgment, Leg};
use super::payload::Received;

/// A path of the demo.
pub(crate) struct Path {
    /// Name, which is shown if the path cannot run.
    pub(crate) name: &'static str,
    /// Function that runs the path.
    pub(crate) run: fn(&Fixture) -> Result<Vec<PathResult>, DemoError>,
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
        name: memory::VMSPLICED,
        run: memory::vmspliced,
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
        name: peek::DURING_TRANSFER,
        run: peek::during_transfer,
    },
    Path {
        name: peek::ALL_STRATEGIES,
        run: peek::all_strategies,
    },
    Path {
        name: memory::PLAIN_SEND,
        run: memory::plain_send,
    },
];

/// Result of a path, a row of the output.
pub(crate) struct PathResult {
    /// Flow in the report.
    pub(crate) flow: Flow,
    /// Peeks on the path.
    pub(crate) peeks: Vec<Peek>,
    /// Largest segments of the last leg.
    pub(crate) segments: Vec<Segment>,
    /// Judgment.
    pub(crate) judgment: Judgment,
    /// Note for the reader.
    pub(crate) note: Option<String>,
    /// Library's results of each transfer, in order.
    pub(crate) legs: Vec<Leg>,
}

/// A path that was run and is not judged yet.
struct PathRun {
    name: &'static str,
    path: Vec<EndpointKind>,
    from: String,
    to: String,
    calls: Vec<Call>,
    /// Number of bytes that it should carry.
    len: u64,
    receipts: Vec<Receipt>,
    received: Received,
    oracle: Result<Verdict, DemoError>,
}

impl PathRun {
    /// Reads the receipts, compares the payload, and judges.
    fn judge(self, fixture: &Fixture) -> PathResult {
        let end = |kind: Option<&EndpointKind>, name: &str| {
            Endpoint::new(kind.cloned().unwrap_or(EndpointKind::Various), name)
        };
        let mut flow = Flow::new(
            end(self.path.first(), &printable(&self.from)),
            end(self.path.last(), &printable(&self.to)),
        );
        flow.name = Some(self.name.to_owned());
        flow.path = self.path;
        flow.pid = Some(std::process::id());
        "zctrace".clone_into(&mut flow.process);
        flow.call_names = self.calls;
        let legs: Vec<Leg> = self.receipts.into_iter().map(Leg::from).collect();
        judge::set_account(&mut flow, self.received.bytes(), &legs);
        flow.content_ok = Some(fixture.payload().is(&self.received, self.len));
        flow.oracle = Some(
            self.oracle
                .as_ref()
                .map_or(OracleVerdict::NotTested, |&verdict| judge::oracle_verdict(verdict)),
        );
        let oracle_error = self.oracle.err().map(|cause| cause.to_string());
        let judgment = judge::judge(&flow, self.len, &legs, oracle_error.as_deref());
        PathResult {
            flow,
            peeks: Vec::new(),
            segments: Vec::new(),
            judgment,
            note: None,
            legs,
        }
    }
}

/// Sends and receives concurrently. If both fail, returns the error of the receiver, because the
/// sender only sees it go.
fn run_concurrently<S, R: Send>(
    send: impl FnOnce() -> Result<S, DemoError>,
    receive: impl FnOnce() -> Result<R, DemoError> + Send,
) -> Result<(S, R), DemoError> {
    scope(|threads| {
        let far = threads.spawn(receive);
        let near = send();
        let far = join_thread(far)?;
        Ok((near?, far))
    })
}

/// Returns the result of a thread, and propagates its panic.
fn join_thread<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
