//! Every system call of the library fails, in every way, at every position, and no byte is lost.
//!
//! Each scenario is run once untouched, to learn its calls. Then it is run again for each call and each way in which that
//! call can fail or fall short; for each call that fails *from then on*; and for pairs of faults. It drives its work to
//! the end as a program would: an error is followed by another attempt, a blocked step by a wait. After every step and
//! after every case (`case.rs`, `harness.rs`):
//!
//! * what arrived, what is in the list and what was not yet taken are together the bytes of the model, in order;
//! * a step that returned an error moved nothing;
//! * receipts add up, to what arrived, and copies are counted no more often than they can have been made;
//! * no descriptor is open that was not before, and no pipe with bytes in it is in the pool.
//!
//! One test runs all of it, one scenario after the other, because the descriptors of the process are counted.

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

/// So many faults that are all known to matter; fewer means that the scenarios have become empty.
const FEWEST_CASES: u64 = 3000;

#[test]
fn no_byte_is_lost_on_any_failure() {
    let fixtures = Fixtures::new();
    let mut totals = Totals::default();
    // Before anything else: the drain is opened once in the life of the process.
    enumerate::cold(&fixtures, &mut totals);

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
        Scenario::new("look, then send", sharing::look_then_send),
        Scenario::new("look by way of a memfd", sharing::look_by_way_of_a_memfd),
        Scenario::new("stabilize", sharing::stabilize),
        Scenario::new("checksum", sharing::checksum),
        Scenario::new("rebuild aligned", sharing::rebuild_aligned),
    ];
    let mut recorded: Vec<_> = all
        .iter()
        .map(|scenario| (scenario, scenario.learn(&fixtures)))
        .collect();
    // The pipes full of tiny pieces are rewritten, or those scenarios are not what they say.
    for scenario in all.iter().filter(|scenario| scenario.name.starts_with("tiny slots")) {
        assert!(scenario.copies(Reason::Defragmented), "{}", scenario.name);
    }
    recorded.sort_by_key(|(_, calls)| calls.len());
    assert_every_call_is_visited(recorded.iter().flat_map(|(_, calls)| calls.iter().map(|call| call.0)));

    // A direct file needs a filesystem that has it; without one its scenarios make no call at all.
    recorded.retain(|(_, calls)| !calls.is_empty());
    for (number, (scenario, calls)) in recorded.iter().enumerate() {
        let pairs = if number < 3 { Pairs::All } else { Pairs::Near };
        enumerate::visit(scenario, calls, pairs, &fixtures, &mut totals);
    }
    totals.report();
    assert!(totals.cases >= FEWEST_CASES, "only {} cases", totals.cases);
}

/// A seam that no scenario passes is not tested.
fn assert_every_call_is_visited(calls: impl Iterator<Item = Call>) {
    let seen: std::collections::HashSet<Call> = calls.collect();
    // `Open` happens once in the life of the process: `enumerate::cold`.
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
        assert!(seen.contains(&call), "no scenario makes the call {call:?}");
    }
}
