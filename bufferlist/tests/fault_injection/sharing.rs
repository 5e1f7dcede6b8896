//! Scenarios in which a cell has several holders, or is peeked at.

use crate::case::{Case, Done, Far, holds};
use crate::fixtures::Fixtures;
use crate::scenarios::{from_file, one_of_each, socket};
use bufferlist::{Alignment, BufferList, PeekStrategy, Pool, Reason, Sink, Stability};
use rustix::fd::AsFd;

pub(crate) fn shared_cell_sent_twice(case: &mut Case<'_>) -> Done {
    // More than a new pipe has slots for: it is enlarged, and so is the one that it is tee'd into.
    let model = &case.fixtures.data[50..72_050];
    let mut list = from_file(case, 50, model, 70_000)?;
    let mut clone = list.clone();
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    let first = case.send(&mut list, &mut sink, &mut far, model);
    holds(&clone, model);
    first?;
    case.send(&mut clone, &mut sink, &mut far, &[model, model].concat())?;
    case.end(&clone);
    Ok(())
}

/// The front of an unshared cell is discarded when the rest is sent.
pub(crate) fn front_thrown_away(case: &mut Case<'_>) -> Done {
    let model = &case.fixtures.data[30..20_030];
    let mut list = from_file(case, 30, model, 20_000)?;
    drop(list.split_to(7_000));
    list.truncate(9_000);
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, &model[7_000..16_000])?;
    case.end(&list);
    Ok(())
}

/// Slices from the middle of a cell, each sent while the list is held; then the list itself.
fn slices(case: &mut Case<'_>) -> Done {
    let model = &case.fixtures.data[10..30_010];
    let mut list = from_file(case, 10, model, 30_000)?;
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    let mut expected = Vec::new();
    // The fifth is sliced from a cell that is split for it; the last but one crosses the split.
    for (start, end) in [
        (9_000, 9_100),
        (5_000, 15_000),
        (20_000, 21_000),
        (7, 4_100),
        (12_000, 25_000),
        (4_000, 20_000),
        (25_000, 30_000),
    ] {
        let mut slice = list.slice(start..end);
        expected.extend_from_slice(&model[start as usize..end as usize]);
        let sent = case.send(&mut slice, &mut sink, &mut far, &expected);
        if case.inspects || sent.is_err() {
            holds(&list, model);
        }
        sent?;
    }
    expected.extend_from_slice(model);
    case.send(&mut list, &mut sink, &mut far, &expected)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn slices_until_the_cell_splits(case: &mut Case<'_>) -> Done {
    slices(case)
}

/// One pipe for the cell, one to tee into, none to split it.
pub(crate) fn slices_with_two_pipes(case: &mut Case<'_>) -> Done {
    case.pool = Pool::new(2, 1 << 20);
    slices(case)
}

pub(crate) fn shared_cell_to_appending_file(case: &mut Case<'_>) -> Done {
    let model = &case.fixtures.data[50..9_050];
    let mut list = from_file(case, 50, model, 9_000)?;
    let mut part = list.slice(1_000..8_000);
    let (file, far) = Fixtures::appending_sink();
    let mut far = Far::file(far);
    let mut sink = case.retry(|| Sink::stream(file.as_fd()))?.pool(&case.pool);
    let sent = case.send(&mut part, &mut sink, &mut far, &model[1_000..8_000]);
    holds(&list, model);
    sent?;
    let expected = [&model[1_000..8_000], model].concat();
    case.send(&mut list, &mut sink, &mut far, &expected)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn peek_then_send(case: &mut Case<'_>) -> Done {
    let model = &case.fixtures.data[70..10_070];
    let mut list = from_file(case, 70, model, 10_000)?;
    let mut clone = list.clone();
    for (start, end) in [(0, 16), (4_000, 6_000), (9_000, 10_000), (5_500, 9_500)] {
        let view = case.peek(&mut list, model, |list| list.peek(start..end))?;
        assert!(
            view == model[start as usize..end as usize],
            "a peek returned other bytes"
        );
        // If no pipe is available, the whole cell is read, possibly after a part of the window was.
        assert!(view.receipt().copied() <= model.len() as u64 + end - start);
    }
    let text = case.peek(&mut clone, model, |list| list.hexdump(100..200))?;
    assert_eq!(text.lines().count(), 8);
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    list.advance(4_500);
    let first = case.send(&mut list, &mut sink, &mut far, &model[4_500..]);
    holds(&clone, model);
    first?;
    case.send(&mut clone, &mut sink, &mut far, &[&model[4_500..], model].concat())?;
    case.end(&clone);
    Ok(())
}

pub(crate) fn peek_through_a_memfd(case: &mut Case<'_>) -> Done {
    let model = &case.fixtures.data[70..9_070];
    let mut list = from_file(case, 70, model, 9_000)?;
    // The lack of a pipe is an error here and not a reason to read: the strategy was requested by
    // name. After a refusal the pool asks the system again only when a pipe has been returned, so
    // an ordinary peek is made instead.
    let mut refused = 0;
    let view = case.peek(&mut list, model, |list| {
        refused += 1;
        if refused < 3 {
            list.peek_with(PeekStrategy::Memfd, 100..5_000)
        } else {
            list.peek(100..5_000)
        }
    })?;
    assert!(view == model[100..5_000], "a peek returned other bytes");
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}

/// One segment of each kind, and a cell that has another holder.
fn all_kinds(case: &mut Case<'_>) -> Done<(BufferList, BufferList, Vec<u8>)> {
    let (mut list, mut model) = one_of_each(case)?;
    let body = &case.fixtures.data[200..9_200];
    let mut pipes = from_file(case, 200, body, 5_000)?;
    let clone = pipes.clone();
    list.append(&mut pipes);
    model.extend_from_slice(body);
    Ok((list, clone, model))
}

/// Sends a list, and checks that the holder of a part of it has lost nothing.
fn send_out(case: &mut Case<'_>, mut list: BufferList, clone: &BufferList, model: &[u8]) -> Done {
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    let sent = case.send(&mut list, &mut sink, &mut far, model);
    holds(clone, &case.fixtures.data[200..9_200]);
    sent?;
    case.end(&list);
    Ok(())
}

pub(crate) fn stabilize(case: &mut Case<'_>) -> Done {
    let (mut list, clone, model) = all_kinds(case)?;
    assert_eq!(list.stability(), Stability::Volatile);
    let receipt = case.peek(&mut list, &model, BufferList::stabilize)?;
    assert_eq!(receipt.reason(), Some(Reason::Stabilized));
    assert_eq!(list.stability(), Stability::Private);
    send_out(case, list, &clone, &model)
}

pub(crate) fn checksum(case: &mut Case<'_>) -> Done {
    let (mut list, clone, model) = all_kinds(case)?;
    let crc = case.peek(&mut list, &model, |list| list.crc32c())?;
    assert_eq!((crc.value(), crc.stable()), (crc32c::crc32c(&model), None));
    send_out(case, list, &clone, &model)
}

pub(crate) fn rebuild_aligned(case: &mut Case<'_>) -> Done {
    let (mut list, clone, model) = all_kinds(case)?;
    // Only the last piece may be other than a multiple of a page.
    case.peek(&mut list, &model, |list| list.rebuild_aligned(Alignment::PAGE))?;
    let lengths: Vec<_> = list.segments().map(bufferlist::Segment::len).collect();
    let (_, whole) = lengths.split_last().expect("segments");
    assert!(whole.iter().all(|len| len % 4096 == 0), "{lengths:?}");
    send_out(case, list, &clone, &model)
}
