//! The trials: known moves and known copies, by bare calls, each between ends of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, sendfile};

use super::ends::{self, LEN, Stage};
use super::table::Expected;
use super::zerocopy;
use crate::trace::coverage::{BEFORE, CLOSES, DIRTY, DISK, MESSAGES, NOTICES, NOTICES_URING, PACKETS, SLOTS, SUMS};
use zctrace_report::EndKind;

/// A trial before it is made.
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// What it proves: one of the facts of a report's coverage.
    pub(super) fact: &'static str,
    pub(super) expected: Expected,
    /// Where its bytes come from, and where they arrive: no other bytes of this process go that way meanwhile. What arrives
    /// in a pipe is an edge, for no flow ends there.
    pub(super) ends: (EndKind, EndKind),
    /// How often [`LEN`] bytes go that way.
    pub(super) times: u64,
    /// The program that must have told something, where its silence would not show in what became of the bytes.
    pub(super) told_by: Option<&'static str>,
    pub(super) make: fn(&Stage) -> io::Result<()>,
}

const fn spec(
    name: &'static str,
    fact: &'static str,
    expected: Expected,
    ends: (EndKind, EndKind),
    make: fn(&Stage) -> io::Result<()>,
) -> Spec {
    Spec {
        name,
        fact,
        expected,
        ends,
        times: 1,
        told_by: None,
        make,
    }
}

/// All of them.
pub(super) const TRIALS: &[Spec] = {
    use EndKind::{DirectFile, File, Memory, Pipe, Tcp, Unix};
    use Expected::{Copied, Moved, Zero};
    &[
        spec("file → pipe", SLOTS, Moved, (File, Pipe), file_to_pipe),
        spec("vmsplice → pipe", SLOTS, Moved, (Memory, Pipe), lend),
        spec("hole → pipe", SLOTS, Zero, (File, Pipe), hole),
        spec("write → pipe → read", SLOTS, Copied, (Memory, Memory), write_and_read),
        spec("file → pipe → TCP", PACKETS, Moved, (File, Tcp), file_to_tcp),
        spec("sendfile → TCP", PACKETS, Moved, (File, Tcp), by_sendfile),
        spec("TCP → pipe → TCP", PACKETS, Moved, (Tcp, Tcp), tcp_to_tcp),
        spec("sendfile → TCP, in sums", SUMS, Moved, (File, Tcp), by_sendfile),
        spec("write → TCP, in sums", SUMS, Copied, (Memory, Tcp), write_to_tcp),
        spec("write → TCP", PACKETS, Copied, (Memory, Tcp), write_to_tcp),
        spec(
            "read, of read and write",
            PACKETS,
            Copied,
            (File, Memory),
            read_and_write,
        ),
        Spec {
            name: "the same ports again",
            fact: CLOSES,
            expected: Moved,
            ends: (File, Tcp),
            times: 2,
            told_by: Some("inet_sock_set_state"),
            make: same_ports,
        },
        spec("pipe from before → TCP", BEFORE, Moved, (Pipe, Tcp), before_to_tcp),
        spec("file → pipe → UNIX", MESSAGES, Moved, (File, Unix), file_to_unix),
        spec("write → UNIX", MESSAGES, Copied, (Memory, Unix), write_to_unix),
        spec(
            "file → pipe → O_DIRECT file",
            DISK,
            Moved,
            (File, DirectFile),
            file_to_disk,
        ),
        spec("file → pipe → file", DIRTY, Copied, (File, File), file_to_file),
        spec("write → file", DIRTY, Copied, (Memory, File), write_to_file),
        spec("MSG_ZEROCOPY → TCP", NOTICES, Copied, (Memory, Tcp), zerocopy::by_send),
        spec(
            "io_uring SEND_ZC → TCP",
            NOTICES_URING,
            Copied,
            (Memory, Tcp),
            zerocopy::by_io_uring,
        ),
    ]
};

/// Memory that is lent: it must not be given back, so there is one for all time.
static LENT: [u8; LEN] = [7; LEN];

fn file_to_pipe(stage: &Stage) -> io::Result<()> {
    ends::fill(&stage.source, &ends::pipe()?.1)
}

fn lend(_: &Stage) -> io::Result<()> {
    ends::lend(ends::pipe()?.1.as_fd(), &LENT)
}

fn hole(_: &Stage) -> io::Result<()> {
    ends::fill(&ends::hole()?, &ends::pipe()?.1)
}

fn write_and_read(_: &Stage) -> io::Result<()> {
    let (read, write) = ends::pipe()?;
    ends::write(&mut File::from(write))?;
    ends::receive(&mut File::from(read), &ends::pattern())
}

fn file_to_tcp(stage: &Stage) -> io::Result<()> {
    let pipe = ends::pipe()?;
    let (near, mut far) = ends::tcp()?;
    ends::fill(&stage.source, &pipe.1)?;
    ends::all(&pipe.0, &near)?;
    ends::receive(&mut far, &ends::pattern())
}

fn before_to_tcp(stage: &Stage) -> io::Result<()> {
    let (near, mut far) = ends::tcp()?;
    ends::all(&stage.before.0, &near)?;
    ends::receive(&mut far, &ends::pattern())
}

fn send(stage: &Stage, to: impl AsFd) -> io::Result<()> {
    let mut at = 0;
    while at < LEN as u64 {
        let left = LEN - at as usize;
        if sendfile(&to, &stage.source, Some(&mut at), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn by_sendfile(stage: &Stage) -> io::Result<()> {
    let (near, mut far) = ends::tcp()?;
    send(stage, &near)?;
    ends::receive(&mut far, &ends::pattern())
}

fn tcp_to_tcp(stage: &Stage) -> io::Result<()> {
    let (near, middle) = ends::tcp()?;
    let (onward, mut far) = ends::tcp()?;
    // A page from a file is a page of its own in the packet, whatever the kernel; what is written may lie in its head.
    send(stage, &near)?;
    ends::through(&middle, &ends::pipe()?, &onward)?;
    ends::receive(&mut far, &ends::pattern())
}

fn write_to_tcp(_: &Stage) -> io::Result<()> {
    let (mut near, mut far) = ends::tcp()?;
    ends::write(&mut near)?;
    ends::receive(&mut far, &ends::pattern())
}

fn read_and_write(stage: &Stage) -> io::Result<()> {
    let (mut near, mut far) = ends::tcp()?;
    let mut bytes = vec![0; LEN];
    stage.source.read_exact_at(&mut bytes, 0)?;
    io::Write::write_all(&mut near, &bytes)?;
    ends::receive(&mut far, &ends::pattern())
}

fn same_ports(stage: &Stage) -> io::Result<()> {
    let listener = ends::listener()?;
    let mut port = 0;
    for _ in 0..2 {
        let (near, mut far) = ends::connect(&listener, port)?;
        port = near.local_addr()?.port();
        send(stage, &near)?;
        ends::receive(&mut far, &ends::pattern())?;
        ends::ends_at_once(&near)?;
        drop(near);
        // The other side knows, too, when it has read the end.
        let _ = far.read(&mut [0]);
    }
    Ok(())
}

fn file_to_unix(stage: &Stage) -> io::Result<()> {
    let pipe = ends::pipe()?;
    let (near, mut far) = ends::unix()?;
    ends::fill(&stage.source, &pipe.1)?;
    ends::all(&pipe.0, &near)?;
    ends::receive(&mut far, &ends::pattern())
}

fn write_to_unix(_: &Stage) -> io::Result<()> {
    let (mut near, mut far) = ends::unix()?;
    ends::write(&mut near)?;
    ends::receive(&mut far, &ends::pattern())
}

fn file_to_disk(stage: &Stage) -> io::Result<()> {
    let pipe = ends::pipe()?;
    let disk = stage.file(OFlags::DIRECT)?;
    ends::fill(&stage.source, &pipe.1)?;
    ends::all(&pipe.0, &disk)
}

fn file_to_file(stage: &Stage) -> io::Result<()> {
    let pipe = ends::pipe()?;
    let file = stage.file(OFlags::empty())?;
    ends::fill(&stage.source, &pipe.1)?;
    ends::all(&pipe.0, &file)
}

fn write_to_file(stage: &Stage) -> io::Result<()> {
    ends::write(&mut stage.file(OFlags::empty())?)
}
