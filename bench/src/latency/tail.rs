//! Round trips of a short answer over TCP. The kernel holds a tail back for 200 ms if a splice
//! announces more bytes (`SPLICE_F_MORE`) and none follow.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bufferlist::{BufferList, Sink, Source, Step};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::{Effort, Measured, milliseconds};

const LEN: usize = 1000;

pub(crate) fn without_more(effort: Effort) -> Measured {
    raw(effort, SpliceFlags::empty())
}

pub(crate) fn with_more(effort: Effort) -> Measured {
    raw(effort, SpliceFlags::MORE)
}

/// Measures a list of two pipe segments, of which the library must announce only the first.
pub(crate) fn of_a_list(effort: Effort) -> Measured {
    let file = file().map_err(|error| error.to_string())?;
    let result = rounds(effort, 2 * LEN, |near| {
        let mut list = BufferList::new();
        for _ in 0..2 {
            let mut source = Source::file(&file, ..)?.threshold(0);
            while let Step::Moved(_) = list.splice_from(&mut source, LEN as u64)? {}
        }
        let mut sink = Sink::stream(near)?;
        while let Step::Moved(_) = list.splice_to(&mut sink)? {}
        Ok(())
    });
    result
        .map(|times| milliseconds(&times))
        .map_err(|error| error.to_string())
}

fn raw(effort: Effort, flags: SpliceFlags) -> Measured {
    let answer = |near: &TcpStream| {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        splice(file()?, Some(&mut 0), &write, None, LEN, flags)?;
        splice(&read, None, near, None, LEN, flags)?;
        Ok(())
    };
    let result = rounds(effort, LEN, answer);
    result
        .map(|times| milliseconds(&times))
        .map_err(|error| error.to_string())
}

fn file() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&[7; LEN])?;
    Ok(file)
}

/// Measures the time from an answer's first system call until the peer has all of it.
fn rounds(
    effort: Effort,
    len: usize,
    mut answer: impl FnMut(&TcpStream) -> io::Result<()>,
) -> io::Result<Vec<Duration>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    let (mut received, mut request) = (vec![0; len], [0; 4]);
    let mut times = Vec::new();
    for _ in 0..effort.rounds {
        near.set_nonblocking(true)?;
        let start = Instant::now();
        answer(&near)?;
        far.read_exact(&mut received)?;
        times.push(start.elapsed());
        // A request from the peer, so that its acknowledgment is not delayed.
        near.set_nonblocking(false)?;
        far.write_all(b"next")?;
        near.read_exact(&mut request)?;
    }
    Ok(times)
}
