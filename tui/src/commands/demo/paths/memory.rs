//! From the program's own memory: lent to the kernel, fetched by a device, and written as any program does.

use bufferlist::EndpointKind as Kind;
use bufferlist::{BufferList, Sink};
use zctrace_report::{Call, EndKind};

use super::{Done, Trip, at_once};
use crate::commands::demo::canary;
use crate::commands::demo::endpoints::{Tcp, set_direct};
use crate::commands::demo::fixture::{Cause, Stage};
use crate::commands::demo::payload::Arrival;

pub(super) const LENT: &str = "memory → pipe → TCP (vmsplice)";
pub(super) const TO_DISK: &str = "memory → disk";
pub(super) const WRITTEN: &str = "memory → TCP (plain send)";

/// What is sent of plain memory at a time: a second copy of the whole content need not be held.
const PLAIN_PIECE: usize = 1 << 20;

/// Pages lent to a pipe by vmsplice(2), whole ones, and moved on to a socket.
pub(super) fn lent(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().in_blocks();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || stage.give(BufferList::from(stage.content().pages().clone()), Sink::stream(near)?);
    let (receipt, arrival) = at_once(send, || Ok(Arrival::of_stream(far)?))?;
    let trip = Trip {
        name: LENT,
        stations: vec![EndKind::Memory, EndKind::Pipe, EndKind::Tcp],
        from: "pages of zctrace".to_owned(),
        to,
        calls: vec![Call::Vmsplice, Call::Splice],
        len,
        receipts: vec![receipt],
        arrival,
        oracle: stage.ask(&[Kind::Memory, Kind::Tcp]),
    };
    Ok(vec![trip.done(stage)])
}

/// Pages written to a file open with `O_DIRECT`: the device fetches them from where they are.
pub(super) fn to_disk(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().in_blocks();
    let file = stage.file()?;
    set_direct(&file, true)?;
    let receipt = stage.give(BufferList::from(stage.content().pages().clone()), Sink::file(&file, 0)?)?;
    set_direct(&file, false)?;
    let trip = Trip {
        name: TO_DISK,
        stations: vec![EndKind::Memory, EndKind::DirectFile],
        from: "pages of zctrace".to_owned(),
        to: stage.file_name(),
        calls: vec![Call::Write],
        len,
        receipts: vec![receipt],
        arrival: Arrival::of_file(&file)?,
        oracle: stage.ask(&[Kind::Memory, Kind::DirectFile]),
    };
    Ok(vec![trip.done(stage)])
}

/// Memory written to a socket, for contrast.
pub(super) fn written(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let len = stage.content().len();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || {
        let mut giver = stage.giver(Sink::stream(near)?)?;
        for piece in stage.content().bytes(len).chunks(PLAIN_PIECE) {
            giver.prefix(BufferList::from(piece.to_vec()));
            giver.run()?;
        }
        Ok(giver.receipt())
    };
    let (receipt, arrival) = at_once(send, || Ok(Arrival::of_stream(far)?))?;
    let trip = Trip {
        name: WRITTEN,
        stations: vec![EndKind::Memory, EndKind::Tcp],
        from: "memory of zctrace".to_owned(),
        to,
        calls: vec![Call::Send],
        len,
        receipts: vec![receipt],
        arrival,
        oracle: canary::written(),
    };
    Ok(vec![trip.done(stage)])
}
