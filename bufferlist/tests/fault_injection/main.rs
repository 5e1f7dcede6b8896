//! Every system call of the library fails, in every way, at every position, and no byte is lost.
//!
//! Each scenario runs once without faults, to record its calls. Then it runs again for each call
//! and each way in which that call can fail or return short; for each call that fails *from then
//! on*; and for pairs of faults. A case drives its work to the end as a program would: it retries
//! after an error and waits after a blocked step. After every step and every case (`case.rs`,
//! `harness.rs`):
//!
//! * the delivered bytes, the bytes in the list and the bytes left in the source are together the
//!   bytes of the model, in order;
//! * a step that returned an error moved nothing;
//! * receipts add up to the delivered bytes, and copies are counted at most as often as they can
//!   have been made;
//! * no descriptor is open that was not open before, and no pipe with bytes in it is in the pool.
//!
//! One test runs all scenarios in sequence, because it counts the descriptors of the process.

mod case;
mod enumerate;
mod fixtures;
mod harness;
mod scenarios;
mod sharing;

use bufferlist::{Call, Reason};
use enumerate::{Pairs, Totals};
use fixtures::Fixtures;
use harness::Scenario;

/// Minimum number of cases; fewer mean that the scenarios have become empty.
const FEWEST_CASES: u64 = 3000;

#[test]
fn no_byte_is_lost_on_any_failure() {
    let fixtures = Fixtures::new();
    let mut totals = Totals::default();
    // First of all, because /dev/null is opened once per process.
    enumerate::without_warm_up(&fixtures, &mut totals);

    let all = [
        Scenario::new("file to socket", scenarios::file_to_socket),
        Scenario::new("socket to file", scenarios::socket_to_file),
        Scenario::new("file to appending file", scenarios::file_to_appending_file),
        Scenario::new("pipe to pipe", scenarios::pipe_to_pipe),
        Scenario::new("extents to pipe", scenarios::extents_to_pipe),
        Scenario::new("extents to file", scenarios::extents_to_file),
        Scenario::new("extents beyond the end", scenarios::extents_beyond_the_end),
        Scenario::new("direct extents", scenarios::direct_extents).needs_whole_calls(),
        Scenario::new("mixed transfer to socket", scenarios::mixed_transfer_to_socket),
        Scenario::new("mixed transfer to file", scenarios::mixed_transfer_to_file),
        Scenario::new("run of a transfer", scenarios::run_of_a_transfer).needs_whole_calls(),
        Scenario::new("tiny slots of a file", scenarios::tiny_slots_of_a_file),
        Scenario::new("tiny slots of a socket", scenarios::tiny_slots_of_a_socket),
        Scenario::new("direct file to file", scenarios::direct_file_to_file).needs_whole_calls(),
        Scenario::new("file to direct file", scenarios::file_to_direct_file).needs_whole_calls(),
        Scenario::new("shared cell sent twice", sharing::shared_cell_sent_twice),
        Scenario::new("front thrown away", sharing::front_thrown_away),
        Scenario::new("slices until the cell splits", sharing::slices_until_the_cell_splits),
        Scenario::new("slices with two pipes", sharing::slices_with_two_pipes),
        Scenario::new("shared cell to appending file", sharing::shared_cell_to_appending_file),
        Scenario::new("peek, then send", sharing::peek_then_send),
        Scenario::new("peek through a memfd", sharing::peek_through_a_memfd),
        Scenario::new("stabilize", sharing::stabilize),
        Scenario::new("checksum", sharing::checksum),
        Scenario::new("rebuild aligned", sharing::rebuild_aligned),
    ];
    let mut recorded: Vec<_> = all
        .iter()
        .map(|scenario| (scenario, scenario.record_calls(&fixtures)))
        .collect();
    // If the pipes full of tiny pieces are not rewritten, those scenarios do not test what they
    // claim.
    for scenario in all.iter().filter(|scenario| scenario.name.starts_with("tiny slots")) {
        assert!(scenario.copies(Reason::Defragmented), "{}", scenario.name);
    }
    recorded.sort_by_key(|(_, calls)| calls.len());
    assert_every_call_is_visited(recorded.iter().flat_map(|(_, calls)| calls.iter().map(|call| call.0)));

    // A direct file needs a filesystem that supports it; otherwise its scenarios make no call at
    // all.
    recorded.retain(|(_, calls)| !calls.is_empty());
    for (number, (scenario, calls)) in recorded.iter().enumerate() {
        let pairs = if number < 3 { Pairs::All } else { Pairs::Near };
        enumerate::inject_all(scenario, calls, pairs, &fixtures, &mut totals);
    }
    totals.report();
    assert!(totals.cases >= FEWEST_CASES, "only {} cases", totals.cases);
}

/// A system call that no scenario reaches is not tested.
fn assert_every_call_is_visited(calls: impl Iterator<Item = Call>) {
    let visited: std::collections::HashSet<Call> = calls.collect();
    // `Open` happens once per process: `enumerate::cold`.
    let wanted = [
        Call::Pipe,
        Call::GetPipeSize,
        Call::SetPipeSize,
        Call::BytesReadable,
        Call::Splice,
        Call::Tee,
        Call::Vmsplice,
        Call::Sendfile,
        Call::Read,
        Call::Pread,
        Call::Write,
        Call::Pwrite,
        Call::Send,
        Call::Poll,
        Call::Memfd,
        Call::GetFlags,
    ];
    for call in wanted {
        assert!(visited.contains(&call), "no scenario makes the call {call:?}");
    }
}
