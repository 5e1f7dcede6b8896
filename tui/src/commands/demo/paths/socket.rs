//! Into sockets, and from socket to socket.

use std::thread::scope;

use bufferlist::EndpointKind as Kind;
use bufferlist::{BufferList, Sink, Source};
use zctrace_report::{Call, EndKind};

use super::{Done, Trip, at_once, joined};
use crate::commands::demo::endpoints::{Tcp, unix_pair};
use crate::commands::demo::fixture::{Cause, Stage};
use crate::commands::demo::payload::Arrival;

pub(super) const SENDFILE: &str = "file → TCP (sendfile)";
pub(super) const RELAY: &str = "TCP → pipe → TCP";
pub(super) const THROUGH_UNIX: &str = "file → pipe → UNIX → pipe → TCP";

/// A part of a file to a socket, which is one sendfile(2) for as much as the socket takes.
pub(super) fn sendfile(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().len();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || stage.give(BufferList::from(stage.extent(len)?), Sink::stream(near)?);
    let (receipt, arrival) = at_once(send, || Ok(Arrival::of_stream(far)?))?;
    let trip = Trip {
        name: SENDFILE,
        stations: vec![EndKind::File, EndKind::Tcp],
        from: stage.file_name(),
        to,
        calls: vec![Call::Sendfile],
        len,
        receipts: vec![receipt],
        arrival,
        oracle: stage.ask(&[Kind::File, Kind::Tcp]),
    };
    Ok(vec![trip.done(stage)])
}

/// What a proxy does. The account is of the relay alone, from the socket it reads to the one it writes.
pub(super) fn relay(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().len();
    let (client, server) = (Tcp::connect(None)?, Tcp::connect(None)?);
    let (from, to) = (client.address(), server.address());
    client.far.set_nonblocking(true)?;
    let (receipt, arrival) = scope(|threads| {
        let sender = threads.spawn(|| stage.pump(stage.source(len)?, Sink::stream(client.near)?));
        let relay = || stage.pump(Source::stream(client.far)?, Sink::stream(server.near)?);
        let both = at_once(relay, || Ok(Arrival::of_stream(server.far)?));
        let sent = joined(sender);
        let both = both?;
        sent.map(|_| both)
    })?;
    let trip = Trip {
        name: RELAY,
        stations: vec![EndKind::Tcp, EndKind::Pipe, EndKind::Tcp],
        from,
        to,
        calls: vec![Call::Splice],
        len,
        receipts: vec![receipt],
        arrival,
        oracle: stage.ask(&[Kind::Tcp, Kind::Tcp]),
    };
    Ok(vec![trip.done(stage)])
}

/// Through a UNIX socket, behind which the library cannot know what the peer did, though here it is the demo itself.
pub(super) fn through_unix(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().len();
    let (near, middle) = unix_pair()?;
    let server = Tcp::connect(None)?;
    let to = server.address();
    middle.set_nonblocking(true)?;
    let (receipts, arrival) = scope(|threads| {
        let sender = threads.spawn(|| stage.pump(stage.source(len)?, Sink::stream(near)?));
        let relay = || stage.pump(Source::stream(middle)?, Sink::stream(server.near)?);
        let both = at_once(relay, || Ok(Arrival::of_stream(server.far)?));
        let sent = joined(sender);
        let (relayed, arrival) = both?;
        sent.map(|sent| (vec![sent, relayed], arrival))
    })?;
    let trip = Trip {
        name: THROUGH_UNIX,
        stations: vec![EndKind::File, EndKind::Pipe, EndKind::Unix, EndKind::Pipe, EndKind::Tcp],
        from: stage.file_name(),
        to,
        calls: vec![Call::Splice],
        len,
        receipts,
        arrival,
        oracle: stage.ask(&[Kind::File, Kind::Unix, Kind::Tcp]),
    };
    Ok(vec![trip.done(stage)])
}
