//! Canaries for what the oracle of the library has no question for: a page is moved by the demo's own means, then changed
//! where it came from, and looked at where it arrived.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use bufferlist::oracle::Verdict;
use bufferlist::{BufferList, PeekStrategy, Sink, Source, Step};

use super::endpoints::{Tcp, unix_pair};
use super::fixture::{Cause, Stage};
use super::payload::BLOCK;

const BEFORE: [u8; BLOCK as usize] = [b'A'; BLOCK as usize];
const AFTER: [u8; BLOCK as usize] = [b'B'; BLOCK as usize];

/// What the bytes at the destination say.
fn verdict(seen: &[u8]) -> Result<Verdict, Cause> {
    if seen == AFTER {
        Ok(Verdict::Shared)
    } else if seen == BEFORE {
        Ok(Verdict::Private)
    } else {
        Err(Cause::new("what the canary shows makes no sense"))
    }
}

/// A page of a file in a pipe, and the file.
fn caged(stage: &Stage) -> Result<(std::fs::File, BufferList), Cause> {
    let file = stage.file()?;
    file.write_all_at(&BEFORE, 0)?;
    let mut list = BufferList::new();
    match list.splice_from(&mut Source::file(&file, ..)?, BLOCK)? {
        Step::Moved(receipt) if receipt.total() == BLOCK && list.counts().copied() == 0 => Ok((file, list)),
        step => Err(Cause::new(format!(
            "the canary's page did not go into a pipe: {step:?}"
        ))),
    }
}

/// Two clones of one page, the first sent to a TCP socket and the second to a UNIX one.
pub(crate) fn two_sinks(stage: &Stage) -> Result<[Verdict; 2], Cause> {
    let (file, list) = caged(stage)?;
    let mut tcp = Tcp::connect(None)?;
    let (near, mut far) = unix_pair()?;
    stage.give(list.clone(), Sink::stream(&tcp.near)?)?;
    stage.give(list, Sink::stream(&near)?)?;
    file.write_all_at(&AFTER, 0)?;
    let mut page = BEFORE;
    tcp.far.read_exact(&mut page)?;
    let first = verdict(&page)?;
    far.read_exact(&mut page)?;
    Ok([first, verdict(&page)?])
}

/// A look at a page in a pipe.
pub(crate) fn look(stage: &Stage, strategy: PeekStrategy) -> Result<Verdict, Cause> {
    let (file, list) = caged(stage)?;
    let view = list.peek_with(strategy, ..)?;
    file.write_all_at(&AFTER, 0)?;
    verdict(&view.to_vec())
}

/// A page of memory, written to a socket as any program does.
pub(crate) fn written() -> Result<Verdict, Cause> {
    let mut tcp = Tcp::connect(None)?;
    let mut page = BEFORE.to_vec();
    tcp.near.write_all(&page)?;
    page.copy_from_slice(&AFTER);
    let mut seen = BEFORE;
    tcp.far.read_exact(&mut seen)?;
    // The page must still be there when the other side looks, and must have been changed.
    if page != AFTER {
        return Err(Cause::new("the canary was not changed"));
    }
    verdict(&seen)
}
