//! One source, two sinks: a list is cloned, and both clones are sent from the same pages.

use std::thread::scope;

use bufferlist::{BufferList, Receipt, Sink, Step};
use zctrace_report::{Call, EndpointKind};

use super::{PathResult, PathRun, join_thread};
use crate::commands::demo::canary;
use crate::commands::demo::endpoints::{Tcp, unix_pair};
use crate::commands::demo::fixture::{DemoError, Fixture};
use crate::commands::demo::payload::Received;

pub(super) const NAME: &str = "one file → TCP and UNIX";
const FIRST: &str = "one file → 2 sinks: TCP (tee)";
const SECOND: &str = "one file → 2 sinks: UNIX";

/// Bytes that are sent at a time: the capacity of a pipe of the default size.
const CHUNK_SIZE: u64 = 64 * 1024;

/// Sends to a TCP socket, from a pipe that is filled by tee(2) because the other clone needs the
/// pages too, and to a UNIX socket.
pub(super) fn two_sinks(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().len();
    let tcp = Tcp::connect(None)?;
    let address = tcp.address();
    let (near, far) = unix_pair()?;
    let (receipts, received) = scope(|threads| {
        let first = threads.spawn(|| Received::of_stream(tcp.far));
        let second = threads.spawn(|| Received::of_stream(far));
        let give = move || {
            // Dropped when everything is sent, which ends the streams.
            let (to_tcp, to_unix) = (tcp.near, near);
            let mut source = fixture.source(len)?;
            let mut receipts = (Receipt::default(), Receipt::default());
            loop {
                let mut list = BufferList::new();
                match list.splice_from(&mut source, CHUNK_SIZE)? {
                    Step::Moved(_) => {}
                    Step::End => return Ok(receipts),
                    Step::Blocked(side) => {
                        return Err(DemoError::new(format!("splicing from a file blocked on the {side:?}")));
                    }
                }
                receipts.0 += fixture.send(list.clone(), Sink::stream(&to_tcp)?)?;
                receipts.1 += fixture.send(list, Sink::stream(&to_unix)?)?;
            }
        };
        let receipts: Result<_, DemoError> = give();
        let received = (join_thread(first), join_thread(second));
        Ok::<_, DemoError>((receipts?, (received.0?, received.1?)))
    })?;
    let oracle = canary::two_sinks(fixture);
    let path_run = |name, kind, to, calls, receipt, received, index: usize| PathRun {
        name,
        path: vec![EndpointKind::File, EndpointKind::Pipe, kind],
        from: fixture.file_name(),
        to,
        calls,
        len,
        receipts: vec![receipt],
        received,
        oracle: oracle.clone().map(|verdicts| verdicts[index]),
    };
    let teed = vec![Call::Splice, Call::Tee];
    let first = path_run(FIRST, EndpointKind::Tcp, address, teed, receipts.0, received.0, 0);
    let second = path_run(
        SECOND,
        EndpointKind::Unix,
        String::new(),
        vec![Call::Splice],
        receipts.1,
        received.1,
        1,
    );
    Ok(vec![first.judge(fixture), second.judge(fixture)])
}
