//! Scenarios in which every cell has one holder: sources, sinks, and whole transfers.

use crate::case::{Case, Done, Far};
use crate::fixtures::Fixtures;
use bufferlist::{
    BufferList, ErrorKind, FileExtent, Limits, Nonblocking, PagesMut, Segment, Sink, Source, Step, Transfer,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::PipeFlags;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Returns a socket to write to and its far end, both non-blocking.
pub(crate) fn socket() -> (UnixStream, Far) {
    let (near, far) = UnixStream::pair().expect("socketpair");
    near.set_nonblocking(true).expect("non-blocking");
    far.set_nonblocking(true).expect("non-blocking");
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 1 << 20).expect("buffer");
    (near, Far::stream(far))
}

/// Returns a socket that holds `data` and then ends.
fn full_socket(data: &[u8], piece: usize) -> UnixStream {
    let (mut peer, near) = UnixStream::pair().expect("socketpair");
    rustix::net::sockopt::set_socket_send_buffer_size(&peer, 1 << 20).expect("buffer");
    near.set_nonblocking(true).expect("non-blocking");
    for piece in data.chunks(piece) {
        peer.write_all(piece).expect("write");
    }
    near
}

/// Returns the bytes queued in a stream.
fn waiting<F: AsFd>(source: &Source<F>) -> u64 {
    rustix::io::ioctl_fionread(source.get_ref()).expect("FIONREAD")
}

/// Returns the bytes left in a file source that ends at `end`.
pub(crate) fn rest_of_file<F: AsFd>(end: u64) -> impl Fn(&Source<F>) -> u64 {
    move |source| end - source.position().expect("a file has offsets")
}

/// Returns a list of the file's bytes from `start` on, in pieces, in pipes.
pub(crate) fn from_file(case: &mut Case<'_>, start: u64, model: &[u8], piece: u64) -> Done<BufferList> {
    let end = start + model.len() as u64;
    let file = &case.fixtures.file;
    let mut source = case
        .retry(|| Source::file(file, start..end))?
        .pool(&case.pool)
        .threshold(0);
    let mut list = BufferList::new();
    case.fill(&mut list, &mut source, piece, model, rest_of_file(end))?;
    Ok(list)
}

pub(crate) fn file_to_socket(case: &mut Case<'_>) -> Done {
    // Neither end is page-aligned.
    let model = &case.fixtures.data[100..14_100];
    let mut list = from_file(case, 100, model, 9_000)?;
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn socket_to_file(case: &mut Case<'_>) -> Done {
    let model = case.data(12_000);
    let stream = full_socket(model, 5_000);
    let mut source = case
        .retry(|| Source::stream(stream.as_fd()))?
        .pool(&case.pool)
        .threshold(64);
    let mut list = BufferList::new();
    case.fill(&mut list, &mut source, 7_000, model, waiting)?;
    let (file, far) = Fixtures::sink();
    let mut far = Far::file(far);
    let mut sink = case.retry(|| Sink::file(file.as_fd(), 0))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn file_to_appending_file(case: &mut Case<'_>) -> Done {
    let model = &case.fixtures.data[5..9_000];
    let mut list = from_file(case, 5, model, 5_000)?;
    let (file, far) = Fixtures::appending_sink();
    let mut far = Far::file(far);
    let mut sink = case.retry(|| Sink::stream(file.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn pipe_to_pipe(case: &mut Case<'_>) -> Done {
    let model = case.data(10_000);
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    std::fs::File::from(write).write_all(model).expect("write");
    let read = case.retry(|| Nonblocking::enter(read.as_fd()))?;
    let mut source = case.retry(|| Source::stream(read.as_fd()))?.pool(&case.pool);
    let mut list = BufferList::new();
    case.fill(&mut list, &mut source, 64 * 1024, model, waiting)?;
    list.push_front("header");
    let expected = [b"header", model].concat();
    let (write, mut far) = pipe();
    let mut sink = case.retry(|| Sink::stream(write.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, &expected)?;
    case.end(&list);
    Ok(())
}

/// Returns a pipe to write to and its far end, both non-blocking.
fn pipe() -> (OwnedFd, Far) {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("pipe");
    (write, Far::stream(std::fs::File::from(read)))
}

/// Memory, two extents of one file, and memory.
fn extents(case: &Case<'_>) -> Done<(BufferList, Vec<u8>)> {
    let data = &case.fixtures.data;
    let file = Arc::new(OwnedFd::from(case.fixtures.file.try_clone().expect("descriptor")));
    let first = case.retry(|| FileExtent::new(Arc::clone(&file), 100..9_000))?;
    let second = case.retry(|| FileExtent::new(Arc::clone(&file), 20_000..20_500))?;
    let mut list = BufferList::from("header");
    list.push(first);
    list.push(second);
    list.push("trailer");
    let model = [b"header", &data[100..9_000], &data[20_000..20_500], b"trailer"].concat();
    Ok((list, model))
}

pub(crate) fn extents_to_pipe(case: &mut Case<'_>) -> Done {
    let (mut list, model) = extents(case)?;
    let (write, mut far) = pipe();
    let mut sink = case.retry(|| Sink::stream(write.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, &model)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn extents_to_file(case: &mut Case<'_>) -> Done {
    let (mut list, model) = extents(case)?;
    let (file, far) = Fixtures::sink();
    let mut far = Far::file(far);
    let mut sink = case.retry(|| Sink::file(file.as_fd(), 0))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, &model)?;
    case.end(&list);
    Ok(())
}

/// A file that is shorter than declared is reported once per extent, and all bytes that exist are
/// delivered.
pub(crate) fn extents_beyond_the_end(case: &mut Case<'_>) -> Done {
    let data = &case.fixtures.data;
    let len = data.len() as u64;
    let file = Arc::new(OwnedFd::from(case.fixtures.file.try_clone().expect("descriptor")));
    let nothing = case.retry(|| FileExtent::new(Arc::clone(&file), len + 100..len + 200))?;
    let half = case.retry(|| FileExtent::new(Arc::clone(&file), len - 50..len + 50))?;
    let mut list = BufferList::from("header");
    list.push(nothing);
    list.push("between");
    list.push(half);
    list.push("trailer");
    let model = [b"header", &b"between"[..], &data[data.len() - 50..], b"trailer"].concat();
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    let mut sizes = Vec::new();
    let mut failed = 0;
    loop {
        let (len, got) = (list.len(), far.total());
        match list.splice_to(&mut sink) {
            Ok(Step::End) => break,
            Ok(Step::Moved(receipt)) => {
                assert_eq!(far.total(), got + receipt.total());
                assert_eq!(list.len(), len - receipt.total(), "cut without a word");
                case.volume += receipt.total();
                failed = 0;
            }
            Err(error) if error.kind() == ErrorKind::Truncated => {
                assert_eq!(far.total(), got);
                sizes.push(len - list.len());
            }
            other => {
                assert_eq!((list.len(), far.total()), (len, got));
                case.again(&mut failed, other.err().as_ref())?;
            }
        }
    }
    assert_eq!(sizes, [100, 50]);
    assert!(far.got == model, "other bytes arrived");
    Ok(())
}

/// Misaligned extents of a direct file: peeked at, and sent to a socket and a file.
pub(crate) fn direct_extents(case: &mut Case<'_>) -> Done {
    let Some(direct) = case.fixtures.direct_source() else {
        return Ok(());
    };
    let end = case.fixtures.data.len();
    let model = [&case.fixtures.data[5_000..5_100], &case.fixtures.data[end - 9_000..]].concat();
    let file = Arc::new(OwnedFd::from(direct));
    let mut list = BufferList::new();
    list.push(case.retry(|| FileExtent::new(Arc::clone(&file), 5_000..5_100))?);
    list.push(case.retry(|| FileExtent::new(Arc::clone(&file), end as u64 - 9_000..))?);
    let view = case.peek(&mut list, &model, |list| list.peek(50..5_000))?;
    assert!(view == model[50..5_000], "a peek returned other bytes");
    case.peek(&mut list, &model, BufferList::stabilize)?;
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, &model)?;
    case.end(&list);
    Ok(())
}

/// One segment of each kind other than a pipe: the part before the body.
pub(crate) fn one_of_each(case: &Case<'_>) -> Done<(BufferList, Vec<u8>)> {
    let (mut list, mut model) = extents(case)?;
    let mut pages = case.retry(|| PagesMut::new(10_000))?;
    pages.as_mut_slice().copy_from_slice(case.data(10_000));
    let pages = case.retry(move || std::mem::replace(&mut pages, PagesMut::new(0)?).seal())?;
    // Not page-aligned, and a piece that is too small for vmsplice.
    list.push(pages.slice(1_000..10_000));
    list.push(pages.slice(0..500));
    model.extend_from_slice(&case.data(10_000)[1_000..]);
    model.extend_from_slice(case.data(500));
    list.push(Segment::zero(3_000));
    model.resize(model.len() + 3_000, 0);
    list.hole(5).fill(b"later");
    model.extend_from_slice(b"later");
    list.extend_from_slice(b"appended");
    model.extend_from_slice(b"appended");
    Ok((list, model))
}

pub(crate) fn mixed_transfer_to_socket(case: &mut Case<'_>) -> Done {
    let (list, mut model) = one_of_each(case)?;
    let (near, mut far) = socket();
    let body = 3_000..20_000;
    model.extend_from_slice(&case.fixtures.data[body.clone()]);
    let body = body.start as u64..body.end as u64;
    let source = case.retry(|| Source::file(&case.fixtures.file, body.clone()))?;
    let sink = case.retry(|| Sink::stream(near.as_fd()))?;
    let limits = Limits::default().chunk(10_000);
    let mut transfer = Transfer::new(source, sink).pool(&case.pool).limits(limits);
    transfer.prefix(list);
    case.transfer(&mut transfer, &mut far, &model, false)
}

pub(crate) fn mixed_transfer_to_file(case: &mut Case<'_>) -> Done {
    let (list, mut model) = one_of_each(case)?;
    let (file, far) = Fixtures::sink();
    let mut far = Far::file(far);
    let body = case.data(9_000);
    model.extend_from_slice(body);
    let stream = full_socket(body, 4_000);
    let source = case.retry(|| Source::stream(stream.as_fd()))?;
    let sink = case.retry(|| Sink::file(file.as_fd(), 0))?;
    let mut transfer = Transfer::new(source, sink).pool(&case.pool);
    transfer.prefix(list);
    case.transfer(&mut transfer, &mut far, &model, false)
}

pub(crate) fn run_of_a_transfer(case: &mut Case<'_>) -> Done {
    let body = case.data(20_000);
    let (near, mut far) = socket();
    let stream = full_socket(body, 6_000);
    let source = case.retry(|| Source::stream(stream.as_fd()))?;
    let sink = case.retry(|| Sink::stream(near.as_fd()))?;
    // A persistent fault may leave it waiting for an event that never comes.
    let wait = Duration::from_millis(if case.may_give_up { 4 } else { 60_000 });
    let limits = Limits::default().chunk(8_000).deadline(Instant::now() + wait);
    let mut transfer = Transfer::new(source, sink).pool(&case.pool).limits(limits);
    // More than a socket accepts at once: the far side is not read meanwhile, but nothing else is
    // waited for.
    transfer.prefix(BufferList::from("header"));
    let model = [b"header", body].concat();
    case.transfer(&mut transfer, &mut far, &model, true)
}

pub(crate) fn tiny_slots_of_a_file(case: &mut Case<'_>) -> Done {
    // Seventeen pieces of sixty bytes do not fit into sixteen slots.
    let model = case.data(2_400);
    let mut list = from_file(case, 0, model, 60)?;
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn tiny_slots_of_a_socket(case: &mut Case<'_>) -> Done {
    let model = case.data(1_500);
    let stream = full_socket(model, 60);
    let mut source = case
        .retry(|| Source::stream(stream.as_fd()))?
        .pool(&case.pool)
        .threshold(0);
    let mut list = BufferList::new();
    case.fill(&mut list, &mut source, 70, model, waiting)?;
    let (near, mut far) = socket();
    let mut sink = case.retry(|| Sink::stream(near.as_fd()))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn direct_file_to_file(case: &mut Case<'_>) -> Done {
    let Some(direct) = case.fixtures.direct_source() else {
        return Ok(());
    };
    let model = &case.fixtures.data[4_096..36_864];
    let mut source = case
        .retry(|| Source::file(direct.as_fd(), 4_096..36_864))?
        .pool(&case.pool);
    let mut list = BufferList::new();
    case.fill(&mut list, &mut source, 16_384, model, rest_of_file(36_864))?;
    let (file, far) = Fixtures::sink();
    let mut far = Far::file(far);
    let mut sink = case.retry(|| Sink::file(file.as_fd(), 0))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}

pub(crate) fn file_to_direct_file(case: &mut Case<'_>) -> Done {
    let Some((direct, far)) = case.fixtures.direct_sink() else {
        return Ok(());
    };
    let model = case.data(32_768);
    let mut list = from_file(case, 0, model, 16_384)?;
    let mut far = Far::file(far);
    let mut sink = case.retry(|| Sink::file(direct.as_fd(), 0))?.pool(&case.pool);
    case.send(&mut list, &mut sink, &mut far, model)?;
    case.end(&list);
    Ok(())
}
