//! From the program's own memory: vmspliced, read by a device, and written as any program does.

use bufferlist::EndpointKind as Kind;
use bufferlist::{BufferList, Sink};
use zctrace_report::{Call, EndpointKind};

use super::{PathResult, PathRun, run_concurrently};
use crate::commands::demo::canary;
use crate::commands::demo::endpoints::{Tcp, set_direct};
use crate::commands::demo::fixture::{DemoError, Fixture};
use crate::commands::demo::payload::Received;

pub(super) const VMSPLICED: &str = "memory → pipe → TCP (vmsplice)";
pub(super) const TO_DISK: &str = "memory → disk";
pub(super) const PLAIN_SEND: &str = "memory → TCP (plain send)";

/// Bytes of plain memory that are sent at a time, so that the payload is not duplicated as a whole.
const PLAIN_CHUNK_SIZE: usize = 1 << 20;

/// Sends whole pages to a socket that vmsplice(2) maps into a pipe.
pub(super) fn vmspliced(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().in_blocks();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || fixture.send(BufferList::from(fixture.payload().pages().clone()), Sink::stream(near)?);
    let (receipt, received) = run_concurrently(send, || Ok(Received::of_stream(far)?))?;
    let path_run = PathRun {
        name: VMSPLICED,
        path: vec![EndpointKind::Memory, EndpointKind::Pipe, EndpointKind::Tcp],
        from: "pages of zctrace".to_owned(),
        to,
        calls: vec![Call::Vmsplice, Call::Splice],
        len,
        receipts: vec![receipt],
        received,
        oracle: fixture.ask_oracle(&[Kind::Memory, Kind::Tcp]),
    };
    Ok(vec![path_run.judge(fixture)])
}

/// Writes pages to a file opened with `O_DIRECT`, where the device reads them in place.
pub(super) fn to_disk(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().in_blocks();
    let file = fixture.file()?;
    set_direct(&file, true)?;
    let receipt = fixture.send(
        BufferList::from(fixture.payload().pages().clone()),
        Sink::file(&file, 0)?,
    )?;
    set_direct(&file, false)?;
    let path_run = PathRun {
        name: TO_DISK,
        path: vec![EndpointKind::Memory, EndpointKind::DirectFile],
        from: "pages of zctrace".to_owned(),
        to: fixture.file_name(),
        calls: vec![Call::Write],
        len,
        receipts: vec![receipt],
        received: Received::of_file(&file)?,
        oracle: fixture.ask_oracle(&[Kind::Memory, Kind::DirectFile]),
    };
    Ok(vec![path_run.judge(fixture)])
}

/// Writes memory to a socket, for comparison.
pub(super) fn plain_send(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let len = fixture.payload().len();
    let Tcp { near, far } = Tcp::connect(None)?;
    let to = near.peer_addr()?.to_string();
    let send = || {
        let mut sender = fixture.sender(Sink::stream(near)?)?;
        for chunk in fixture.payload().bytes(len).chunks(PLAIN_CHUNK_SIZE) {
            sender.prefix(BufferList::from(chunk.to_vec()));
            sender.run()?;
        }
        Ok(sender.receipt())
    };
    let (receipt, received) = run_concurrently(send, || Ok(Received::of_stream(far)?))?;
    let path_run = PathRun {
        name: PLAIN_SEND,
        path: vec![EndpointKind::Memory, EndpointKind::Tcp],
        from: "memory of zctrace".to_owned(),
        to,
        calls: vec![Call::Send],
        len,
        receipts: vec![receipt],
        received,
        oracle: canary::plain_send(),
    };
    Ok(vec![path_run.judge(fixture)])
}
