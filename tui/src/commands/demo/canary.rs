//! Canaries for questions that the library's oracle does not answer: a page is moved by the demo
//! itself, changed at the source, and read at the destination.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use bufferlist::oracle::Verdict;
use bufferlist::{BufferList, PeekStrategy, Sink, Source, Step};

use super::endpoints::{Tcp, unix_pair};
use super::fixture::{DemoError, Fixture};
use super::payload::BLOCK;

const OLD_PAGE: [u8; BLOCK as usize] = [b'A'; BLOCK as usize];
const NEW_PAGE: [u8; BLOCK as usize] = [b'B'; BLOCK as usize];

/// Returns the verdict that the bytes at the destination show.
fn verdict(seen: &[u8]) -> Result<Verdict, DemoError> {
    if seen == NEW_PAGE {
        Ok(Verdict::Shared)
    } else if seen == OLD_PAGE {
        Ok(Verdict::Private)
    } else {
        Err(DemoError::new("the canary shows unexpected bytes"))
    }
}

/// Returns a file, and one of its pages in a pipe.
fn page_in_pipe(fixture: &Fixture) -> Result<(std::fs::File, BufferList), DemoError> {
    let file = fixture.file()?;
    file.write_all_at(&OLD_PAGE, 0)?;
    let mut list = BufferList::new();
    match list.splice_from(&mut Source::file(&file, ..)?, BLOCK)? {
        Step::Moved(receipt) if receipt.total() == BLOCK && list.counts().copied() == 0 => Ok((file, list)),
        step => Err(DemoError::new(format!(
            "the canary's page did not enter a pipe: {step:?}"
        ))),
    }
}

/// Sends two clones of one page, the first to a TCP socket and the second to a UNIX socket.
pub(crate) fn two_sinks(fixture: &Fixture) -> Result<[Verdict; 2], DemoError> {
    let (file, list) = page_in_pipe(fixture)?;
    let mut tcp = Tcp::connect(None)?;
    let (near, mut far) = unix_pair()?;
    fixture.send(list.clone(), Sink::stream(&tcp.near)?)?;
    fixture.send(list, Sink::stream(&near)?)?;
    file.write_all_at(&NEW_PAGE, 0)?;
    let mut page = OLD_PAGE;
    tcp.far.read_exact(&mut page)?;
    let first = verdict(&page)?;
    far.read_exact(&mut page)?;
    Ok([first, verdict(&page)?])
}

/// Peeks at a page in a pipe.
pub(crate) fn peek(fixture: &Fixture, strategy: PeekStrategy) -> Result<Verdict, DemoError> {
    let (file, list) = page_in_pipe(fixture)?;
    let view = list.peek_with(strategy, ..)?;
    file.write_all_at(&NEW_PAGE, 0)?;
    verdict(&view.to_vec())
}

/// Writes a page of memory to a socket, as any program does.
pub(crate) fn plain_send() -> Result<Verdict, DemoError> {
    let mut tcp = Tcp::connect(None)?;
    let mut page = OLD_PAGE.to_vec();
    tcp.near.write_all(&page)?;
    page.copy_from_slice(&NEW_PAGE);
    let mut seen = OLD_PAGE;
    tcp.far.read_exact(&mut seen)?;
    // The page must live until the other side has read, and must have been changed.
    if page != NEW_PAGE {
        return Err(DemoError::new("the canary was not changed"));
    }
    verdict(&seen)
}
