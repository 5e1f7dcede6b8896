//! The whole chain: file, pipe, socket, pipe, file. It ends in a buffered file, which copies, or in
//! one opened with `O_DIRECT`, where the device takes the pages.

use std::fs::File;
use std::net::Shutdown;
use std::sync::mpsc;

use bufferlist::EndpointKind as Kind;
use bufferlist::{Receipt, Sink, Source};
use zctrace_report::{Call, EndpointKind};

use super::{PathResult, PathRun, run_concurrently};
use crate::commands::demo::endpoints::{Tcp, WholeBlocks, set_direct};
use crate::commands::demo::fixture::{DemoError, Fixture};
use crate::commands::demo::payload::Received;

pub(super) const TO_FILE: &str = "file → pipe → TCP → pipe → file";
pub(super) const TO_DISK: &str = "file → pipe → TCP → pipe → disk";

/// Sends to a file through the page cache.
pub(super) fn to_file(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let file = fixture.file()?;
    let len = fixture.payload().len();
    let receipts = run_chain(fixture, len, &Tcp::connect(None)?, &file)?;
    path_run(fixture, TO_FILE, EndpointKind::File, Kind::File, len, receipts, &file)
        .map(|path_run| vec![path_run.judge(fixture)])
}

/// Sends to a file opened with `O_DIRECT`, in whole blocks.
pub(super) fn to_disk(fixture: &Fixture) -> Result<Vec<PathResult>, DemoError> {
    let file = fixture.file()?;
    let len = fixture.payload().in_blocks();
    set_direct(&file, true)?;
    let whole = WholeBlocks::here();
    let receipts = run_in_lockstep(fixture, len, &Tcp::connect(Some(whole.segment()))?, &file)?;
    set_direct(&file, false)?;
    let path_run = path_run(
        fixture,
        TO_DISK,
        EndpointKind::DirectFile,
        Kind::DirectFile,
        len,
        receipts,
        &file,
    )?;
    Ok(vec![PathResult {
        note: Some(whole.note()),
        ..path_run.judge(fixture)
    }])
}

/// Transfers from the source file through the socket into `file`, and returns the receipts of both
/// sides.
fn run_chain(fixture: &Fixture, len: u64, tcp: &Tcp, file: &File) -> Result<Vec<Receipt>, DemoError> {
    tcp.far.set_nonblocking(true)?;
    let send = || {
        let receipt = fixture.transfer(fixture.source(len)?, Sink::stream(&tcp.near)?);
        // Signals the end of the stream, also after an error. The peer may be gone already, which
        // the receipt shows.
        let _ = tcp.near.shutdown(Shutdown::Write);
        receipt
    };
    let receive = || {
        let receipt = fixture.transfer(Source::stream(&tcp.far)?, Sink::file(file, 0)?);
        if receipt.is_err() {
            // The sender must not wait for a receiver that has failed.
            let _ = tcp.far.shutdown(Shutdown::Both);
        }
        receipt
    };
    let (near, far) = run_concurrently(send, receive)?;
    Ok(vec![near, far])
}

/// Transfers as [`run_chain`] does, but sends nothing more until the previous bytes are in the
/// file. A receiver that falls behind closes its window, and the kernel's probes of a closed window
/// are cut at any byte (`tcp_write_wakeup` in net/ipv4/`tcp_output.c`). From there on, segments
/// would not hold whole blocks.
fn run_in_lockstep(fixture: &Fixture, len: u64, tcp: &Tcp, file: &File) -> Result<Vec<Receipt>, DemoError> {
    tcp.far.set_nonblocking(true)?;
    let chunks = || {
        let size = WholeBlocks::in_flight();
        (0..len).step_by(size as usize).map(move |at| at..len.min(at + size))
    };
    let (taken, arrived) = mpsc::channel();
    let send_all = || {
        let mut receipt = Receipt::default();
        for chunk in chunks() {
            let bytes = chunk.end - chunk.start;
            receipt += fixture.transfer_len(fixture.part(chunk)?, Sink::stream(&tcp.near)?, bytes)?;
            if arrived.recv().is_err() {
                // The receiver has failed, and returns the error.
                break;
            }
        }
        Ok(receipt)
    };
    let send = || {
        let receipt = send_all();
        // The receiver must not wait for bytes that will not be sent.
        let _ = tcp.near.shutdown(Shutdown::Write);
        receipt
    };
    let receive = move || {
        let mut receipt = Receipt::default();
        for chunk in chunks() {
            let (at, bytes) = (chunk.start, chunk.end - chunk.start);
            receipt += fixture.transfer_len(Source::stream(&tcp.far)?, Sink::file(file, at)?, bytes)?;
            let _ = taken.send(());
        }
        Ok(receipt)
    };
    let (near, far) = run_concurrently(send, receive)?;
    Ok(vec![near, far])
}

fn path_run(
    fixture: &Fixture,
    name: &'static str,
    to: EndpointKind,
    asked: Kind,
    len: u64,
    receipts: Vec<Receipt>,
    file: &File,
) -> Result<PathRun, DemoError> {
    Ok(PathRun {
        name,
        path: vec![
            EndpointKind::File,
            EndpointKind::Pipe,
            EndpointKind::Tcp,
            EndpointKind::Pipe,
            to,
        ],
        from: fixture.file_name(),
        to: fixture.file_name(),
        calls: vec![Call::Splice],
        len,
        receipts,
        received: Received::of_file(file)?,
        oracle: fixture.ask_oracle(&[Kind::File, Kind::Tcp, asked]),
    })
}
