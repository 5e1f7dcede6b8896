//! Trials: known moves and known copies with plain system calls, each between endpoints of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, sendfile};

use super::fixture::{self, Fixture, LEN};
use super::zerocopy;
use crate::facts::Expected;
use crate::facts::{
    CLOSES, DIGESTS, DIRTY, DISK, EXISTING_PIPES, MESSAGES, PACKETS, SLOTS, URING_REQUESTS, ZEROCOPY, ZEROCOPY_URING,
};
use zctrace_report::EndpointKind;

/// Description of a trial.
pub(super) struct TrialSpec {
    pub(super) name: &'static str,
    /// Fact that the trial verifies.
    pub(super) fact: &'static str,
    pub(super) expected: Expected,
    /// Kinds of the first and the last endpoint. No other bytes of this process go between these
    /// kinds meanwhile. Bytes that end in a pipe appear in an edge, because no flow ends there.
    pub(super) endpoints: (EndpointKind, EndpointKind),
    /// Number of times that [`LEN`] bytes are transferred.
    pub(super) repetitions: u64,
    /// Program that must emit a record, where its absence would not show in the outcome of the
    /// bytes.
    pub(super) must_fire: Option<&'static str>,
    pub(super) run: fn(&Fixture) -> io::Result<()>,
}

const fn spec(
    name: &'static str,
    fact: &'static str,
    expected: Expected,
    endpoints: (EndpointKind, EndpointKind),
    run: fn(&Fixture) -> io::Result<()>,
) -> TrialSpec {
    TrialSpec {
        name,
        fact,
        expected,
        endpoints,
        repetitions: 1,
        must_fire: None,
        run,
    }
}

/// All trials.
pub(super) const TRIALS: &[TrialSpec] = {
    use EndpointKind::{DirectFile, File, Memory, Pipe, Tcp, Unix};
    use Expected::{Copied, Moved, Zero};
    &[
        spec("file → pipe", SLOTS, Moved, (File, Pipe), file_to_pipe),
        spec("vmsplice → pipe", SLOTS, Moved, (Memory, Pipe), vmsplice_to_pipe),
        spec("hole → pipe", SLOTS, Zero, (File, Pipe), hole_to_pipe),
        spec("write → pipe → read", SLOTS, Copied, (Memory, Memory), write_and_read),
        spec("file → pipe → TCP", PACKETS, Moved, (File, Tcp), file_to_tcp),
        spec("sendfile → TCP", PACKETS, Moved, (File, Tcp), sendfile_to_tcp),
        spec("TCP → pipe → TCP", PACKETS, Moved, (Tcp, Tcp), tcp_to_tcp),
        spec("sendfile → TCP, in sums", DIGESTS, Moved, (File, Tcp), sendfile_to_tcp),
        spec("write → TCP, in sums", DIGESTS, Copied, (Memory, Tcp), write_to_tcp),
        spec("write → TCP", PACKETS, Copied, (Memory, Tcp), write_to_tcp),
        spec(
            "read, of read and write",
            PACKETS,
            Copied,
            (File, Memory),
            read_and_write,
        ),
        TrialSpec {
            name: "the same ports again",
            fact: CLOSES,
            expected: Moved,
            endpoints: (File, Tcp),
            repetitions: 2,
            must_fire: Some("inet_sock_set_state"),
            run: reused_ports,
        },
        spec(
            "pipe from before → TCP",
            EXISTING_PIPES,
            Moved,
            (Pipe, Tcp),
            existing_pipe_to_tcp,
        ),
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
        spec(
            "MSG_ZEROCOPY → TCP",
            ZEROCOPY,
            Copied,
            (Memory, Tcp),
            zerocopy::send_zerocopy,
        ),
        spec(
            "io_uring SEND_ZC → TCP",
            ZEROCOPY_URING,
            Copied,
            (Memory, Tcp),
            zerocopy::io_uring_send_zc,
        ),
        spec(
            "io_uring send → TCP",
            URING_REQUESTS,
            Copied,
            (Memory, Tcp),
            zerocopy::io_uring_send,
        ),
    ]
};

/// Memory for vmsplice, which must not be freed or changed while a pipe refers to it.
static SENT: [u8; LEN] = [7; LEN];

fn file_to_pipe(fixture: &Fixture) -> io::Result<()> {
    fixture::fill_pipe(&fixture.source, &fixture::pipe()?.1)
}

fn vmsplice_to_pipe(_: &Fixture) -> io::Result<()> {
    fixture::vmsplice_all(fixture::pipe()?.1.as_fd(), &SENT)
}

fn hole_to_pipe(_: &Fixture) -> io::Result<()> {
    fixture::fill_pipe(&fixture::hole_file()?, &fixture::pipe()?.1)
}

fn write_and_read(_: &Fixture) -> io::Result<()> {
    let (read, write) = fixture::pipe()?;
    fixture::write_pattern(&mut File::from(write))?;
    fixture::receive_expected(&mut File::from(read), &fixture::pattern())
}

fn file_to_tcp(fixture: &Fixture) -> io::Result<()> {
    let pipe = fixture::pipe()?;
    let (near, mut far) = fixture::tcp_pair()?;
    fixture::fill_pipe(&fixture.source, &pipe.1)?;
    fixture::splice_all(&pipe.0, &near)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn existing_pipe_to_tcp(fixture: &Fixture) -> io::Result<()> {
    let (near, mut far) = fixture::tcp_pair()?;
    fixture::splice_all(&fixture.existing_pipe.0, &near)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn sendfile_all(fixture: &Fixture, to: impl AsFd) -> io::Result<()> {
    let mut at = 0;
    while at < LEN as u64 {
        let left = LEN - at as usize;
        if sendfile(&to, &fixture.source, Some(&mut at), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn sendfile_to_tcp(fixture: &Fixture) -> io::Result<()> {
    let (near, mut far) = fixture::tcp_pair()?;
    sendfile_all(fixture, &near)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn tcp_to_tcp(fixture: &Fixture) -> io::Result<()> {
    let (near, middle) = fixture::tcp_pair()?;
    let (onward, mut far) = fixture::tcp_pair()?;
    // Pages from a file are fragments of their own in the packet on every kernel. Written bytes may
    // be in its linear part.
    sendfile_all(fixture, &near)?;
    fixture::splice_through(&middle, &fixture::pipe()?, &onward)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn write_to_tcp(_: &Fixture) -> io::Result<()> {
    let (mut near, mut far) = fixture::tcp_pair()?;
    fixture::write_pattern(&mut near)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn read_and_write(fixture: &Fixture) -> io::Result<()> {
    let (mut near, mut far) = fixture::tcp_pair()?;
    let mut bytes = vec![0; LEN];
    fixture.source.read_exact_at(&mut bytes, 0)?;
    io::Write::write_all(&mut near, &bytes)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn reused_ports(fixture: &Fixture) -> io::Result<()> {
    let listener = fixture::listener()?;
    let mut port = 0;
    for _ in 0..2 {
        let (near, mut far) = fixture::connect(&listener, port)?;
        port = near.local_addr()?.port();
        sendfile_all(fixture, &near)?;
        fixture::receive_expected(&mut far, &fixture::pattern())?;
        fixture::reset_on_close(&near)?;
        drop(near);
        // The peer knows that the connection ended once it has read the end of the stream.
        let _ = far.read(&mut [0]);
    }
    Ok(())
}

fn file_to_unix(fixture: &Fixture) -> io::Result<()> {
    let pipe = fixture::pipe()?;
    let (near, mut far) = fixture::unix_pair()?;
    fixture::fill_pipe(&fixture.source, &pipe.1)?;
    fixture::splice_all(&pipe.0, &near)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn write_to_unix(_: &Fixture) -> io::Result<()> {
    let (mut near, mut far) = fixture::unix_pair()?;
    fixture::write_pattern(&mut near)?;
    fixture::receive_expected(&mut far, &fixture::pattern())
}

fn file_to_disk(fixture: &Fixture) -> io::Result<()> {
    let pipe = fixture::pipe()?;
    let disk = fixture.sink_file(OFlags::DIRECT)?;
    fixture::fill_pipe(&fixture.source, &pipe.1)?;
    fixture::splice_all(&pipe.0, &disk)
}

fn file_to_file(fixture: &Fixture) -> io::Result<()> {
    let pipe = fixture::pipe()?;
    let file = fixture.sink_file(OFlags::empty())?;
    fixture::fill_pipe(&fixture.source, &pipe.1)?;
    fixture::splice_all(&pipe.0, &file)
}

fn write_to_file(fixture: &Fixture) -> io::Result<()> {
    fixture::write_pattern(&mut fixture.sink_file(OFlags::empty())?)
}
