//! Peeks: one during a transfer, which copies only the bytes it reads, and a comparison of the peek
//! strategies.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bufferlist::EndpointKind as Kind;
use bufferlist::{BufferList, FileExtent, PeekStrategy, Receipt, Sink, Step};
use rustix::fs::{MemfdFlags, SealFlags};
use zctrace_report::format;
use zctrace_report::{Call, EndpointKind, Peek};

use super::{PathResult, PathRun, run_concurrently};
use crate::commands::demo::canary;
use crate::commands::demo::endpoints::Tcp;
use crate::commands::demo::fixture::{DemoError, Fixture};
use crate::commands::demo::judge::Judgment;
use crate::commands::demo::payload::{DigestBuilder, Received};

pub(super) const DURING_TRANSFER: &str = "file → pipe → TCP, with a peek";
pub(super) const ALL_STRATEGIES: &str = "file → pipe → a peek";

/// Bytes that are sent, or peeked at, at a time.
const CHUNK_SIZE: u64 = 64 * 1024;

/// Returns the next chunk of the source in a pipe, or `None` at the end.
fn next_chunk<F: std::os::fd::AsFd>(
    source: &mut bufferlist::Source<F>,
) -> Result<Option<(BufferList, Receipt)>, DemoError> {
    let mut list = BufferList::new();
    match list.splice_from(source, CHUNK_SIZE)? {
        Step::Moved(receipt) => Ok(Some((list, receipt))),
        Step::End => Ok(None),
        Step::Blocked(side) => Err(DemoError::new(format!("splicing from a file blocked on the {side:?}"))),
    }
}

/// Transfers, with a peek at one chunk in the middle.
pub(super) fn during_transfer(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().len();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || {
        let mut source = fixture.source(len)?;
        let mut sender = fixture.sender(Sink::stream(near)?)?;
        let mut sent = 0;
        let mut seen = None;
        while let Some((list, _)) = next_chunk(&mut source)? {
            let start = sent;
            sent += list.len();
            if seen.is_none() && sent > len / 2 {
                seen = Some((start as usize, list.peek(..)?));
            }
            sender.prefix(list);
            sender.run()?;
        }
        Ok((sender.receipt(), sender.counts(), seen))
    };
    let ((receipt, counts, seen), received) = run_concurrently(send, || Ok(Received::of_stream(far)?))?;
    let path_run = PathRun {
        name: DURING_TRANSFER,
        path: vec![EndpointKind::File, EndpointKind::Pipe, EndpointKind::Tcp],
        from: fixture.file_name(),
        to,
        calls: vec![Call::Splice],
        len,
        receipts: vec![receipt],
        received,
        oracle: fixture.ask_oracle(&[Kind::File, Kind::Tcp]),
    };
    let mut done = path_run.judge(fixture);
    done.peeks = counts
        .peeks()
        .map(|(line, bytes)| new_peek(bytes, 1, line, "peek", PeekStrategy::Tee))
        .collect();
    done.flow.peeked_bytes = done.peeks.iter().map(|look| look.bytes).sum();
    let right = seen.is_some_and(|(start, view)| {
        view.len() == done.flow.peeked_bytes && view == fixture.payload().bytes(len)[start..start + view.len() as usize]
    });
    if !right && done.judgment == Judgment::Passed {
        done.judgment = Judgment::Failed("the peek read other bytes than were sent, or was not counted".to_owned());
    }
    Ok(vec![done])
}

/// Peeks at everything, once with each strategy.
pub(super) fn all_strategies(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let mut rows = Vec::new();
    let mut times = Vec::new();
    for (name, strategy) in [
        ("peek: tee and read", PeekStrategy::Tee),
        ("peek: tee, memfd and mmap", PeekStrategy::Memfd),
    ] {
        let (row, time) = peek_all(fixture, name, strategy)?;
        rows.push(row);
        let way = name.trim_start_matches("peek: ");
        times.push(format!("{way} took {}", format::duration(nanoseconds(time))));
    }
    let mapped = peek_mapped(fixture)?;
    if let Some(last) = rows.last_mut() {
        last.note = Some(format!(
            "Peeking at {} in pipes, {} at a time: {}. Both copied all of it. Peeking at the same bytes in a sealed memfd, \
             through a mapping, took {} and copied {} bytes.",
            format::size(fixture.payload().len()),
            format::size(CHUNK_SIZE),
            times.join(", "),
            format::duration(nanoseconds(mapped.time)),
            mapped.copied,
        ));
        if !(mapped.is_complete && mapped.copied == 0) && last.judgment == Judgment::Passed {
            last.judgment = Judgment::Failed("the peek through a mapping copied, or read other bytes".to_owned());
        }
    }
    Ok(rows)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Result of peeking through a mapping.
struct MappedPeek {
    time: Duration,
    copied: u64,
    is_complete: bool,
}

/// Peeks at everything in a sealed memfd. Its contents cannot change, so that it is mapped and not
/// copied.
fn peek_mapped(fixture: &Fixture) -> Result<MappedPeek, DemoError> {
    let len = fixture.payload().len();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("zctrace-demo", flags).map_err(std::io::Error::from)?);
    file.write_all(fixture.payload().bytes(len))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK).map_err(std::io::Error::from)?;
    let list = BufferList::from(FileExtent::new(OwnedFd::from(file), ..len)?);
    let (mut time, mut tally, mut at) = (Duration::ZERO, DigestBuilder::default(), 0);
    while at < len {
        let end = len.min(at + CHUNK_SIZE);
        let start = Instant::now();
        let view = list.peek(at..end)?;
        time += start.elapsed();
        view.chunks().for_each(|chunk| tally.add(chunk));
        at = end;
    }
    Ok(MappedPeek {
        time,
        copied: list.counts().copied(),
        is_complete: fixture.payload().is(&tally.finish(), len),
    })
}

/// Peeks at everything with one strategy. Returns the time of the peeks alone.
fn peek_all(
    fixture: &Fixture,
    name: &'static str,
    strategy: PeekStrategy,
) -> Result<(PathResult, Duration), DemoError> {
    let len = fixture.payload().len();
    let mut source = fixture.source(len)?;
    let (mut filled, mut looked) = (Receipt::default(), Receipt::default());
    let (mut calls, mut time) = (0, Duration::ZERO);
    let mut tally = DigestBuilder::default();
    let mut line = None;
    while let Some((list, receipt)) = next_chunk(&mut source)? {
        filled += receipt;
        let start = Instant::now();
        let view = list.peek_with(strategy, ..)?;
        time += start.elapsed();
        calls += 1;
        looked += view.receipt();
        line = Some(view.call_site());
        view.chunks().for_each(|chunk| tally.add(chunk));
    }
    let path_run = PathRun {
        name,
        path: vec![EndpointKind::File, EndpointKind::Pipe, EndpointKind::Memory],
        from: fixture.file_name(),
        to: "memory of zctrace".to_owned(),
        calls: match strategy {
            PeekStrategy::Memfd => vec![Call::Splice, Call::Tee, Call::Splice],
            _ => vec![Call::Splice, Call::Tee, Call::Read],
        },
        len,
        receipts: vec![filled, looked],
        received: tally.finish(),
        oracle: canary::peek(fixture, strategy),
    };
    let mut done = path_run.judge(fixture);
    done.peeks = line
        .map(|line| new_peek(looked.total(), calls, line, "peek_with", strategy))
        .into_iter()
        .collect();
    Ok((done, time))
}

fn new_peek(
    bytes: u64,
    calls: u64,
    line: &'static std::panic::Location<'static>,
    operation: &str,
    strategy: PeekStrategy,
) -> Peek {
    let mut look = Peek::new(bytes, calls);
    look.call_site = Some(line.into());
    operation.clone_into(&mut look.operation);
    let how = match strategy {
        PeekStrategy::Memfd => "tee(2), splice(2) into a memfd, mmap(2)",
        _ => "tee(2) then read(2)",
    };
    how.clone_into(&mut look.method);
    look.pid = Some(std::process::id());
    look
}
