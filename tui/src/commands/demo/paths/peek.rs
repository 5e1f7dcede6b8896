//! Looks: one in the middle of a transfer, which copies what it looks at and nothing else; and the ways of looking, measured
//! against each other.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bufferlist::EndpointKind as Kind;
use bufferlist::{BufferList, FileExtent, PeekStrategy, Receipt, Sink, Step};
use rustix::fs::{MemfdFlags, SealFlags};
use zctrace_report::text;
use zctrace_report::{Call, EndKind, Look};

use super::{Done, Trip, at_once};
use crate::commands::demo::canary;
use crate::commands::demo::endpoints::Tcp;
use crate::commands::demo::fixture::{Cause, Stage};
use crate::commands::demo::judge::Judgement;
use crate::commands::demo::payload::{Arrival, Tally};

pub(super) const ON_THE_WAY: &str = "file → pipe → TCP, with a look";
pub(super) const STRATEGIES: &str = "file → pipe → a look";

/// What is taken at a time, and looked at.
const PIECE: u64 = 64 * 1024;

/// The next piece of the source, in a pipe. `None` at the end.
fn piece<F: std::os::fd::AsFd>(source: &mut bufferlist::Source<F>) -> Result<Option<(BufferList, Receipt)>, Cause> {
    let mut list = BufferList::new();
    match list.splice_from(source, PIECE)? {
        Step::Moved(receipt) => Ok(Some((list, receipt))),
        Step::End => Ok(None),
        Step::Blocked(side) => Err(Cause::new(format!("a file made us wait for the {side:?}"))),
    }
}

/// A transfer, with a look at one piece in its middle.
pub(super) fn on_the_way(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().len();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || {
        let mut source = stage.source(len)?;
        let mut giver = stage.giver(Sink::stream(near)?)?;
        let mut sent = 0;
        let mut seen = None;
        while let Some((list, _)) = piece(&mut source)? {
            let start = sent;
            sent += list.len();
            if seen.is_none() && sent > len / 2 {
                seen = Some((start as usize, list.peek(..)?));
            }
            giver.prefix(list);
            giver.run()?;
        }
        Ok((giver.receipt(), giver.counts(), seen))
    };
    let ((receipt, counts, seen), arrival) = at_once(send, || Ok(Arrival::of_stream(far)?))?;
    let trip = Trip {
        name: ON_THE_WAY,
        stations: vec![EndKind::File, EndKind::Pipe, EndKind::Tcp],
        from: stage.file_name(),
        to,
        calls: vec![Call::Splice],
        len,
        receipts: vec![receipt],
        arrival,
        oracle: stage.ask(&[Kind::File, Kind::Tcp]),
    };
    let mut done = trip.done(stage);
    done.looks = counts
        .peeks()
        .map(|(line, bytes)| look(bytes, 1, line, "peek", PeekStrategy::Tee))
        .collect();
    done.flow.looked = done.looks.iter().map(|look| look.bytes).sum();
    let right = seen.is_some_and(|(start, view)| {
        view.len() == done.flow.looked && view == stage.content().bytes(len)[start..start + view.len() as usize]
    });
    if !right && done.judgement == Judgement::Held {
        done.judgement = Judgement::Disagrees("the look did not see what was sent, or was not counted".to_owned());
    }
    Ok(vec![done])
}

/// Everything looked at, once in each way.
pub(super) fn strategies(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let mut rows = Vec::new();
    let mut times = Vec::new();
    for (name, strategy) in [
        ("look: tee and read", PeekStrategy::Tee),
        ("look: tee, memfd and mmap", PeekStrategy::Memfd),
    ] {
        let (row, time) = all_by(stage, name, strategy)?;
        rows.push(row);
        let way = name.trim_start_matches("look: ");
        times.push(format!("{way} took {}", text::duration(nanoseconds(time))));
    }
    let mapped = by_mapping(stage)?;
    if let Some(last) = rows.last_mut() {
        last.note = Some(format!(
            "looking at {} in pipes, {} at a time: {}. Both copied all of it. Looking at the same bytes in a sealed memfd, \
             through a mapping, took {} and copied {} bytes.",
            text::size(stage.content().len()),
            text::size(PIECE),
            times.join(", "),
            text::duration(nanoseconds(mapped.time)),
            mapped.copied,
        ));
        if !(mapped.saw_it_all && mapped.copied == 0) && last.judgement == Judgement::Held {
            last.judgement =
                Judgement::Disagrees("the look through a mapping copied, or saw something else".to_owned());
        }
    }
    Ok(rows)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What came of looking through a mapping.
struct Mapped {
    time: Duration,
    copied: u64,
    saw_it_all: bool,
}

/// Everything looked at in a file of memory that is sealed: nobody can change it, so it is mapped and not copied.
fn by_mapping(stage: &Stage) -> Result<Mapped, Cause> {
    let len = stage.content().len();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("zctrace-demo", flags).map_err(std::io::Error::from)?);
    file.write_all(stage.content().bytes(len))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK).map_err(std::io::Error::from)?;
    let list = BufferList::from(FileExtent::new(OwnedFd::from(file), ..len)?);
    let (mut time, mut tally, mut at) = (Duration::ZERO, Tally::default(), 0);
    while at < len {
        let end = len.min(at + PIECE);
        let start = Instant::now();
        let view = list.peek(at..end)?;
        time += start.elapsed();
        view.chunks().for_each(|chunk| tally.add(chunk));
        at = end;
    }
    Ok(Mapped {
        time,
        copied: list.counts().copied(),
        saw_it_all: stage.content().is(&tally.finish(), len),
    })
}

/// Everything looked at in one way, and how long the looks took, without what goes before and after them.
fn all_by(stage: &Stage, name: &'static str, strategy: PeekStrategy) -> Result<(Done, Duration), Cause> {
    let len = stage.content().len();
    let mut source = stage.source(len)?;
    let (mut filled, mut looked) = (Receipt::default(), Receipt::default());
    let (mut calls, mut time) = (0, Duration::ZERO);
    let mut tally = Tally::default();
    let mut line = None;
    while let Some((list, receipt)) = piece(&mut source)? {
        filled += receipt;
        let start = Instant::now();
        let view = list.peek_with(strategy, ..)?;
        time += start.elapsed();
        calls += 1;
        looked += view.receipt();
        line = Some(view.call_site());
        view.chunks().for_each(|chunk| tally.add(chunk));
    }
    let trip = Trip {
        name,
        stations: vec![EndKind::File, EndKind::Pipe, EndKind::Memory],
        from: stage.file_name(),
        to: "memory of zctrace".to_owned(),
        calls: match strategy {
            PeekStrategy::Memfd => vec![Call::Splice, Call::Tee, Call::Splice],
            _ => vec![Call::Splice, Call::Tee, Call::Read],
        },
        len,
        receipts: vec![filled, looked],
        arrival: tally.finish(),
        oracle: canary::look(stage, strategy),
    };
    let mut done = trip.done(stage);
    done.looks = line
        .map(|line| look(looked.total(), calls, line, "peek_with", strategy))
        .into_iter()
        .collect();
    Ok((done, time))
}

fn look(
    bytes: u64,
    calls: u64,
    line: &'static std::panic::Location<'static>,
    operation: &str,
    strategy: PeekStrategy,
) -> Look {
    let mut look = Look::new(bytes, calls);
    look.place = Some(line.into());
    operation.clone_into(&mut look.operation);
    let how = match strategy {
        PeekStrategy::Memfd => "tee(2), splice(2) into a memfd, mmap(2)",
        _ => "tee(2) then read(2)",
    };
    how.clone_into(&mut look.how);
    look.pid = Some(std::process::id());
    look
}
