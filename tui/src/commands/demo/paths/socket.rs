//! Into sockets, and from socket to socket.

use std::thread::scope;

use bufferlist::EndpointKind as Kind;
use bufferlist::{BufferList, Sink, Source};
use zctrace_report::{Call, EndpointKind};

use super::{PathResult, PathRun, join_thread, run_concurrently};
use crate::commands::demo::endpoints::{Tcp, unix_pair};
use crate::commands::demo::fixture::{DemoError, Fixture};
use crate::commands::demo::payload::Received;

pub(super) const SENDFILE: &str = "file → TCP (sendfile)";
pub(super) const RELAY: &str = "TCP → pipe → TCP";
pub(super) const THROUGH_UNIX: &str = "file → pipe → UNIX → pipe → TCP";

/// Sends a file extent to a socket, with one sendfile(2) for as much as the socket accepts.
pub(super) fn sendfile(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().len();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || fixture.send(BufferList::from(fixture.extent(len)?), Sink::stream(near)?);
    let (receipt, received) = run_concurrently(send, || Ok(Received::of_stream(far)?))?;
    let path_run = PathRun {
        name: SENDFILE,
        path: vec![EndpointKind::File, EndpointKind::Tcp],
        from: fixture.file_name(),
        to,
        calls: vec![Call::Sendfile],
        len,
        receipts: vec![receipt],
        received,
        oracle: fixture.ask_oracle(&[Kind::File, Kind::Tcp]),
    };
    Ok(vec![path_run.judge(fixture)])
}

/// Relays as a proxy does. The account is of the relay alone, from the socket it reads to the one
/// it writes.
pub(super) fn relay(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().len();
    let (client, server) = (Tcp::connect(None)?, Tcp::connect(None)?);
    let (from, to) = (client.address(), server.address());
    client.far.set_nonblocking(true)?;
    let (receipt, received) = scope(|threads| {
        let sender = threads.spawn(|| fixture.transfer(fixture.source(len)?, Sink::stream(client.near)?));
        let relay = || fixture.transfer(Source::stream(client.far)?, Sink::stream(server.near)?);
        let both = run_concurrently(relay, || Ok(Received::of_stream(server.far)?));
        let sent = join_thread(sender);
        let both = both?;
        sent.map(|_| both)
    })?;
    let path_run = PathRun {
        name: RELAY,
        path: vec![EndpointKind::Tcp, EndpointKind::Pipe, EndpointKind::Tcp],
        from,
        to,
        calls: vec![Call::Splice],
        len,
        receipts: vec![receipt],
        received,
        oracle: fixture.ask_oracle(&[Kind::Tcp, Kind::Tcp]),
    };
    Ok(vec![path_run.judge(fixture)])
}

/// Sends through a UNIX socket. The library cannot know what a peer does behind it, although here
/// the peer is the demo itself.
pub(super) fn through_unix(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().len();
    let (near, middle) = unix_pair()?;
    let server = Tcp::connect(None)?;
    let to = server.address();
    middle.set_nonblocking(true)?;
    let (receipts, received) = scope(|threads| {
        let sender = threads.spawn(|| fixture.transfer(fixture.source(len)?, Sink::stream(near)?));
        let relay = || fixture.transfer(Source::stream(middle)?, Sink::stream(server.near)?);
        let both = run_concurrently(relay, || Ok(Received::of_stream(server.far)?));
        let sent = join_thread(sender);
        let (relayed, received) = both?;
        sent.map(|sent| (vec![sent, relayed], received))
    })?;
    let path_run = PathRun {
        name: THROUGH_UNIX,
        path: vec![
            EndpointKind::File,
            EndpointKind::Pipe,
            EndpointKind::Unix,
            EndpointKind::Pipe,
            EndpointKind::Tcp,
        ],
        from: fixture.file_name(),
        to,
        calls: vec![Call::Splice],
        len,
        receipts,
        received,
        oracle: fixture.ask_oracle(&[Kind::File, Kind::Unix, Kind::Tcp]),
    };
    Ok(vec![path_run.judge(fixture)])
}
