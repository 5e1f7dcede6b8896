//! One source, two sinks: a list is cloned, and each clone goes its own way with the same pages.

use std::thread::scope;

use bufferlist::{BufferList, Receipt, Sink, Step};
use zctrace_report::{Call, EndKind};

use super::{Done, Trip, joined};
use crate::commands::demo::canary;
use crate::commands::demo::endpoints::{Tcp, unix_pair};
use crate::commands::demo::fixture::{Cause, Stage};
use crate::commands::demo::payload::Arrival;

pub(super) const NAME: &str = "one file → TCP and UNIX";
const FIRST: &str = "one file → 2 sinks: TCP (tee)";
const SECOND: &str = "one file → 2 sinks: UNIX";

/// What is taken at a time: what a pipe of the usual size holds.
const PIECE: u64 = 64 * 1024;

/// To a TCP socket, out of a pipe that was filled by tee(2) since the other clone needs the pages too, and to a UNIX socket.
pub(super) fn two_sinks(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().len();
    let tcp = Tcp::connect(None)?;
    let address = tcp.address();
    let (near, far) = unix_pair()?;
    let (receipts, arrivals) = scope(|threads| {
        let first = threads.spawn(|| Arrival::of_stream(tcp.far));
        let second = threads.spawn(|| Arrival::of_stream(far));
        let give = move || {
            // Closed when all is sent, which is how the readers know.
            let (to_tcp, to_unix) = (tcp.near, near);
            let mut source = stage.source(len)?;
            let mut receipts = (Receipt::default(), Receipt::default());
            loop {
                let mut list = BufferList::new();
                match list.splice_from(&mut source, PIECE)? {
                    Step::Moved(_) => {}
                    Step::End => return Ok(receipts),
                    Step::Blocked(side) => return Err(Cause::new(format!("a file made us wait for the {side:?}"))),
                }
                receipts.0 += stage.give(list.clone(), Sink::stream(&to_tcp)?)?;
                receipts.1 += stage.give(list, Sink::stream(&to_unix)?)?;
            }
        };
        let receipts: Result<_, Cause> = give();
        let arrivals = (joined(first), joined(second));
        Ok::<_, Cause>((receipts?, (arrivals.0?, arrivals.1?)))
    })?;
    let oracle = canary::two_sinks(stage);
    let trip = |name, kind, to, calls, receipt, arrival, index: usize| Trip {
        name,
        stations: vec![EndKind::File, EndKind::Pipe, kind],
        from: stage.file_name(),
        to,
        calls,
        len,
        receipts: vec![receipt],
        arrival,
        oracle: oracle.clone().map(|verdicts| verdicts[index]),
    };
    let teed = vec![Call::Splice, Call::Tee];
    let first = trip(FIRST, EndKind::Tcp, address, teed, receipts.0, arrivals.0, 0);
    let second = trip(
        SECOND,
        EndKind::Unix,
        String::new(),
        vec![Call::Splice],
        receipts.1,
        arrivals.1,
        1,
    );
    Ok(vec![first.done(stage), second.done(stage)])
}
