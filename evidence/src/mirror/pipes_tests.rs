//! Tests of the mirrors of pipes: pushes, pops, wrap-around and every cause of a desync.

use super::*;
use crate::decode::endpoint::RingState;
use crate::decode::endpoints::EndpointId;
use crate::decode::page_address::PageAddress;
use crate::history::Histories;
use crate::mirror::mirror_slot::OwnerAtPop;
use crate::span::{Location, total};
use zctrace_report::{Scope, Tier};

fn end(before: (u32, u32), after: (u32, u32)) -> PipeState {
    let ring = |(head, tail)| RingState {
        head,
        tail,
        ..RingState::default()
    };
    PipeState {
        ring: 77,
        slot_count: 16,
        entry: ring(before),
        exit: ring(after),
        ..PipeState::default()
    }
}

fn push_readiness(pipes: &mut Pipes, end: &PipeState) -> Readiness {
    pipes.mirror_at_entry(end, true).push_readiness(end)
}

fn pop_readiness(pipes: &mut Pipes, end: &PipeState, len: u64) -> Readiness {
    pipes.mirror_at_entry(end, false).pop_readiness(end, len)
}

fn known_bytes(pipes: &Pipes) -> Option<u64> {
    pipes.mirrors[&0].known_bytes()
}

fn slot(at: u64, len: u64) -> (MirrorSlot, Span) {
    let span = Span {
        len,
        origin: EndpointId::MEMORY,
        position: at,
        stream: 0,
        pipe_position: PipePosition::default(),
        location: Location::Page(PageAddress(at)),
        history: Histories::START,
    };
    let slot = MirrorSlot {
        len,
        spans: 1,
        end: Some(PageAddress(at + len)),
        owner: None,
    };
    (slot, span)
}

fn desyncs(pipes: &Pipes) -> Vec<String> {
    let mut report = Report::new(Tier::T0, Scope::default());
    pipes.fill_desyncs(&mut report);
    report
        .coverage
        .not_covered
        .into_iter()
        .map(|row| row.operation)
        .collect()
}

fn push_slots(pipes: &mut Pipes, end: &PipeState, slots: &[(MirrorSlot, Span)]) -> Result<(), Desynced> {
    let (slots, spans): (Vec<MirrorSlot>, Vec<Span>) = slots.iter().copied().unzip();
    pipes.push(end, &[], &slots, &spans)
}

fn pop(pipes: &mut Pipes, end: &PipeState, len: u64, ends: &[Option<PageAddress>]) -> Result<Vec<Span>, Desynced> {
    let mut popped = Vec::new();
    let result = pipes.pop(
        end,
        len,
        ends.iter().map(|end| ObservedSlot {
            end: *end,
            owner: OwnerAtPop::NotRead,
        }),
        &mut popped,
    );
    assert!(result.is_ok() || popped.is_empty());
    result.map(|()| popped)
}

fn peek(pipes: &mut Pipes, end: &PipeState, len: u64) -> Result<Vec<Span>, Desynced> {
    let mut popped = Vec::new();
    pipes.peek(end, len, [], &mut popped).map(|()| popped)
}

fn push(pipes: &mut Pipes, before: u32, at: u64, len: u64) {
    let end = end((before, 0), (before + 1, 0));
    assert_eq!(push_readiness(pipes, &end), Readiness::Ready);
    push_slots(pipes, &end, &[slot(at, len)]).unwrap();
}

/// Sets the bytes in the slot at the tail, at the entry and at the exit.
fn tails(mut end: PipeState, before: u64, after: u64) -> PipeState {
    (end.entry.tail_len, end.exit.tail_len) = (before, after);
    end
}

#[test]
fn unobserved_consumer_desyncs_the_mirror() {
    // An unobserved consumer took 10 of the first 100 bytes, so that 90 are left at the entry.
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    assert!(pop(&mut pipes, &tails(end((1, 0), (1, 0)), 90, 60), 30, &[]).is_err());
    // An unobserved consumer ran while this one slept, so that too few are left at the exit.
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    assert!(pop(&mut pipes, &tails(end((1, 0), (1, 0)), 100, 60), 30, &[]).is_err());
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    assert!(pop(&mut pipes, &tails(end((1, 0), (1, 0)), 100, 70), 30, &[]).is_ok());
    assert!(peek(&mut pipes, &tails(end((1, 0), (1, 0)), 71, 71), 30).is_err());
}

#[test]
fn pushed_bytes_are_popped_in_order_and_in_parts() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    push(&mut pipes, 1, 2000, 100);
    let first = tails(end((2, 0), (2, 0)), 100, 70);
    let popped = pop(&mut pipes, &first, 30, &[]).unwrap();
    assert_eq!((popped.len(), popped[0].position, popped[0].len), (1, 1000, 30));
    assert_eq!(known_bytes(&pipes), Some(170));
    let second = tails(end((2, 0), (2, 1)), 70, 50);
    let popped = pop(&mut pipes, &second, 120, &[Some(PageAddress(1100))]).unwrap();
    assert_eq!(
        popped.iter().map(|p| (p.position, p.len)).collect::<Vec<_>>(),
        [(1030, 70), (2000, 50)]
    );
}

#[test]
fn page_other_than_the_pushed_one_desyncs_the_mirror() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    assert!(
        pop(
            &mut pipes,
            &tails(end((1, 0), (1, 1)), 100, 0),
            100,
            &[Some(PageAddress(1101))]
        )
        .is_err()
    );
    assert!(known_bytes(&pipes).is_none());
    assert_eq!(
        desyncs(&pipes),
        ["the content of a pipe (once, 100 bytes): a consumer that was not observed used it"]
    );
    // The mirror stays desynced until a producer observes the ring empty.
    assert_eq!(push_readiness(&mut pipes, &end((5, 4), (6, 4))), Readiness::Ready);
    assert!(push_slots(&mut pipes, &end((5, 4), (6, 4)), &[slot(0, 1)]).is_err());
    assert_eq!(push_readiness(&mut pipes, &end((6, 6), (7, 6))), Readiness::Ready);
    push_slots(&mut pipes, &end((6, 6), (7, 6)), &[slot(0, 1)]).unwrap();
}

#[test]
fn slots_pushed_after_a_pop_do_not_belong_to_it() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    push(&mut pipes, 1, 2000, 100);
    // At its exit the second slot was not there yet.
    let out = tails(end((1, 0), (1, 1)), 100, 0);
    assert_eq!(
        total(&pop(&mut pipes, &out, 100, &[Some(PageAddress(1100))]).unwrap()),
        100
    );
    assert_eq!(known_bytes(&pipes).unwrap(), 100);
    // A part of the second slot cannot have been taken then either.
    let part = tails(end((1, 1), (1, 1)), 0, 0);
    assert!(pop(&mut pipes, &part, 10, &[]).is_err());
}

#[test]
fn an_overwritten_slot_is_not_checked() {
    let pop_after = |head| {
        let mut pipes = Pipes::default();
        push(&mut pipes, 0, 1000, 100);
        pop(&mut pipes, &tails(end((1, 0), (head, 1)), 100, 50), 100, &[None])
    };
    assert!(pop_after(16).is_err(), "it was there to be seen");
    assert!(pop_after(17).is_ok(), "the seventeenth lies where it was");
}

#[test]
fn a_ring_holds_no_more_than_its_slots() {
    let mut pipes = Pipes::default();
    for n in 0..1028 {
        push(&mut pipes, n, 1000 * u64::from(n), 100);
    }
    let gone = pipes.evict_overwritten(&end((1028, 0), (1028, 0)));
    assert_eq!(
        gone.iter().map(|span| span.position).collect::<Vec<_>>(),
        [0, 1000, 2000, 3000]
    );
    assert_eq!((pipes.mirrors[&0].tail, pipes.mirrors[&0].slots.len()), (4, 1024));
    assert_eq!(total(&pipes.drain_at_end()), 102_400);
}

/// Address at which a slot ends.
#[allow(clippy::unnecessary_wraps)] // As a slot has it.
fn at(end: u64) -> Option<PageAddress> {
    Some(PageAddress(end))
}

/// Pushes a slot while the content before it is not known.
fn push_later(pipes: &mut Pipes, before: u32, at: u64, len: u64) {
    let end = end((before, 0), (before + 1, 0));
    assert!(
        push_slots(pipes, &end, &[slot(at, len)]).is_err(),
        "no position is known"
    );
}

#[test]
fn content_pushed_after_a_desync_is_known_from_its_first_slot_on() {
    let mut pipes = Pipes::default();
    for n in 0..4 {
        push(&mut pipes, n, 1000 * u64::from(n), 100);
    }
    pipes.desync(0, DesyncCause::Overlap);
    // Two slots before are unknown, and two are pushed after.
    push_later(&mut pipes, 4, 4000, 100);
    push_later(&mut pipes, 5, 5000, 100);
    assert_eq!(known_bytes(&pipes), None);
    // A consumer of an unknown slot gets nothing, and the one that starts at slot 4 is known.
    assert!(pop(&mut pipes, &tails(end((6, 0), (6, 4)), 100, 100), 400, &[at(0); 4]).is_err());
    let state = tails(end((6, 4), (6, 5)), 100, 100);
    let ends = [at(4100), at(5100)];
    assert_eq!(pop(&mut pipes, &state, 100, &ends).unwrap()[0].position, 4000);
    assert_eq!(known_bytes(&pipes), Some(100));
}

#[test]
fn resync_skips_what_an_unobserved_consumer_took() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 0, 100);
    pipes.desync(0, DesyncCause::Overlap);
    for n in 1..4 {
        push_later(&mut pipes, n, 1000 * u64::from(n), 100);
    }
    // Slots 1 and 2 are gone, and 40 bytes of slot 3.
    let state = tails(end((4, 3), (4, 4)), 60, 0);
    let taken = pop(&mut pipes, &state, 60, &[at(3100)]).unwrap();
    assert_eq!((taken[0].position, taken[0].len), (3040, 60));
}

#[test]
fn resync_refuses_slots_with_other_pages() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 0, 100);
    pipes.desync(0, DesyncCause::Overlap);
    push_later(&mut pipes, 1, 1000, 100);
    let state = tails(end((2, 1), (2, 2)), 100, 0);
    assert!(pop(&mut pipes, &state, 100, &[at(7777)]).is_err());
    assert_eq!(known_bytes(&pipes), None);
}

#[test]
fn page_that_lost_its_owner_is_another_content() {
    let owned = |owner| {
        let mut pipes = Pipes::default();
        let (slot, span) = slot(1000, 100);
        let slot = MirrorSlot {
            owner: Some((0x5000, 4096)),
            ..slot
        };
        let push = end((0, 0), (1, 0));
        assert_eq!(push_readiness(&mut pipes, &push), Readiness::Ready);
        push_slots(&mut pipes, &push, &[(slot, span)]).unwrap();
        let observed = ObservedSlot { end: at(1100), owner };
        let state = tails(end((1, 0), (1, 1)), 100, 0);
        pipes.pop(&state, 100, [observed], &mut Vec::new())
    };
    assert!(owned(OwnerAtPop::Known((0x5000, 4096))).is_ok());
    assert!(owned(OwnerAtPop::NotRead).is_ok(), "it was not read");
    assert!(owned(OwnerAtPop::Truncated(4096)).is_ok(), "it has its content");
    assert!(owned(OwnerAtPop::Truncated(0)).is_err(), "another page");
    assert!(owned(OwnerAtPop::Kernel).is_err(), "the kernel has the page");
    assert!(owned(OwnerAtPop::Known((0x6000, 4096))).is_err(), "another file has it");
}

#[test]
fn resync_waits_for_a_push_that_the_consumer_took() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 0, 100);
    pipes.desync(0, DesyncCause::Overlap);
    push_later(&mut pipes, 1, 1000, 100);
    let consumer = tails(end((2, 1), (3, 3)), 100, 0);
    assert_eq!(pop_readiness(&mut pipes, &consumer, 200), Readiness::Early);
    push_later(&mut pipes, 2, 2000, 100);
    assert_eq!(pop_readiness(&mut pipes, &consumer, 200), Readiness::Ready);
    // A push between that was not observed starts over behind it.
    push_later(&mut pipes, 9, 9000, 100);
    assert_eq!(pop_readiness(&mut pipes, &consumer, 200), Readiness::Ready);
    assert!(pop(&mut pipes, &consumer, 200, &[at(1100), at(2100)]).is_err());
}

#[test]
fn a_producer_that_observes_the_ring_empty_resyncs_it() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    pipes.desync(0, DesyncCause::Overlap);
    // A consumer that slept on an empty ring does not resync the mirror: the record of the push
    // that woke it may already have been received and dropped.
    assert_eq!(pop_readiness(&mut pipes, &end((1, 1), (2, 2)), 100), Readiness::Ready);
    assert!(known_bytes(&pipes).is_none());
    assert_eq!(push_readiness(&mut pipes, &end((2, 1), (3, 1))), Readiness::Ready);
    assert!(known_bytes(&pipes).is_none(), "it was not empty");
    assert_eq!(push_readiness(&mut pipes, &end((3, 3), (4, 3))), Readiness::Ready);
    assert!(known_bytes(&pipes).is_some());
}

#[test]
fn slots_pushed_into_an_empty_ring_outlive_the_loss_of_consumers() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 0, 100);
    push(&mut pipes, 1, 1000, 100);
    // A consumer that is not observed takes slot 0, so that the one of slot 1 waits for it.
    let waiting = tails(end((2, 1), (2, 2)), 100, 0);
    assert_eq!(pop_readiness(&mut pipes, &waiting, 100), Readiness::Early);
    // A producer observes the ring empty, and its consumer waits, too.
    let next = end((2, 2), (3, 2));
    assert_eq!(push_readiness(&mut pipes, &next), Readiness::Ready);
    push_slots(&mut pipes, &next, &[slot(2000, 100)]).unwrap();
    let last = tails(end((3, 2), (3, 3)), 100, 0);
    assert_eq!(pop_readiness(&mut pipes, &last, 100), Readiness::Early);
    pipes.desync(0, DesyncCause::MissingCall);
    assert_eq!(
        desyncs(&pipes),
        ["the content of a pipe (once, 200 bytes): a call on it was not received in time"]
    );
    assert!(pop(&mut pipes, &waiting, 100, &[at(1100)]).is_err());
    assert_eq!(pop_readiness(&mut pipes, &last, 100), Readiness::Ready);
    let taken = pop(&mut pipes, &last, 100, &[at(2100)]).unwrap();
    assert_eq!((taken[0].position, taken[0].len), (2000, 100));
}

#[test]
fn slots_pushed_into_an_empty_ring_are_lost_with_its_producers() {
    for cause in [
        DesyncCause::Overlap,
        DesyncCause::ExcludedCall,
        DesyncCause::RingReplaced,
        DesyncCause::Reopened,
    ] {
        let mut pipes = Pipes::default();
        push(&mut pipes, 0, 0, 100);
        push_slots(&mut pipes, &end((1, 1), (2, 1)), &[slot(2000, 100)]).unwrap();
        pipes.desync(0, cause);
        let state = tails(end((2, 1), (2, 2)), 100, 0);
        assert!(pop(&mut pipes, &state, 100, &[at(2100)]).is_err(), "{cause:?}");
    }
}

#[test]
fn fifo_that_was_opened_again_has_no_consumers_yet() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 0, 100);
    pipes.desync(0, DesyncCause::Overlap);
    // A consumer of unknown bytes, and then a second life of the FIFO at the same address.
    assert!(pop(&mut pipes, &tails(end((2, 0), (2, 2)), 100, 0), 200, &[at(0); 2]).is_err());
    pipes.desync(0, DesyncCause::Reopened);
    push(&mut pipes, 0, 1000, 100);
    push(&mut pipes, 1, 2000, 100);
    let state = tails(end((2, 0), (2, 2)), 100, 0);
    let taken = pop(&mut pipes, &state, 200, &[at(1100), at(2100)]).unwrap();
    assert_eq!((taken[0].position, total(&taken)), (1000, 200));
}

#[test]
fn a_pop_of_more_or_fewer_bytes_desyncs_the_mirror() {
    for len in [99, 101, 0] {
        let mut pipes = Pipes::default();
        push(&mut pipes, 0, 1000, 100);
        assert!(
            pop(
                &mut pipes,
                &tails(end((1, 0), (1, 1)), 100, 0),
                len,
                &[Some(PageAddress(1100))]
            )
            .is_err(),
            "{len}"
        );
    }
    // A consumer that takes all bytes of a slot must release the slot.
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    assert!(pop(&mut pipes, &tails(end((1, 0), (1, 0)), 100, 0), 100, &[]).is_err());
}

#[test]
fn a_call_waits_for_the_calls_before_it() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    assert_eq!(
        push_readiness(&mut pipes, &end((2, 0), (3, 0))),
        Readiness::Early,
        "the second producer's record is missing"
    );
    assert_eq!(
        push_readiness(&mut pipes, &end((0, 0), (1, 0))),
        Readiness::Impossible,
        "two producers at once"
    );
    assert_eq!(
        pop_readiness(&mut pipes, &end((2, 0), (2, 2)), 200),
        Readiness::Early,
        "more than is known to be in it"
    );
    assert_eq!(
        pop_readiness(&mut pipes, &end((2, 1), (2, 2)), 10),
        Readiness::Early,
        "another consumer comes first"
    );
    assert_eq!(pop_readiness(&mut pipes, &end((1, 0), (1, 1)), 100), Readiness::Ready);
}

#[test]
fn a_resized_ring_is_desynced() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    let resized = PipeState {
        ring: 78,
        slot_count: 32,
        ..end((1, 0), (1, 1))
    };
    // The call that filled the new ring may still come.
    assert_eq!(pop_readiness(&mut pipes, &resized, 100), Readiness::Early);
    pipes.desync(0, DesyncCause::MissingCall);
    assert_eq!(pop_readiness(&mut pipes, &resized, 100), Readiness::Ready);
    assert!(pop(&mut pipes, &resized, 100, &[Some(PageAddress(1100))]).is_err());
}

#[test]
fn another_pipe_at_the_same_address_is_another_ring() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    let other = PipeState {
        ino: 9,
        ..end((0, 0), (1, 0))
    };
    assert_eq!(push_readiness(&mut pipes, &other), Readiness::Ready);
    push_slots(&mut pipes, &other, &[slot(5000, 10)]).unwrap();
    let out = PipeState {
        ino: 9,
        ..tails(end((1, 0), (1, 1)), 10, 0)
    };
    assert_eq!(
        pop(&mut pipes, &out, 10, &[Some(PageAddress(5010))]).unwrap()[0].position,
        5000
    );
}

#[test]
fn counters_wrap() {
    let mut pipes = Pipes::default();
    let at = u32::MAX;
    let first = end((at, at), (at.wrapping_add(2), at));
    assert_eq!(push_readiness(&mut pipes, &first), Readiness::Ready);
    push_slots(&mut pipes, &first, &[slot(1000, 10), slot(2000, 10)]).unwrap();
    let out = tails(end((1, at), (1, 1)), 10, 0);
    assert_eq!(pop_readiness(&mut pipes, &out, 20), Readiness::Ready);
    let popped = pop(
        &mut pipes,
        &out,
        20,
        &[Some(PageAddress(1010)), Some(PageAddress(2010))],
    )
    .unwrap();
    assert_eq!(total(&popped), 20);
}

#[test]
fn a_tee_leaves_the_bytes() {
    let mut pipes = Pipes::default();
    push(&mut pipes, 0, 1000, 100);
    let state = tails(end((1, 0), (1, 0)), 100, 100);
    assert_eq!(total(&peek(&mut pipes, &state, 60).unwrap()), 60);
    assert_eq!(total(&peek(&mut pipes, &state, 100).unwrap()), 100);
    assert!(peek(&mut pipes, &state, 101).is_err());
    assert!(
        pop(
            &mut pipes,
            &tails(end((1, 0), (1, 1)), 100, 0),
            100,
            &[Some(PageAddress(1100))]
        )
        .is_ok()
    );
}
