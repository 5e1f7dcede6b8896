//! The whole chain: a file on this side, a file on the other, pipes and a socket between. Into a buffered file, where it
//! ends in a copy, and into one open with `O_DIRECT`, where the device takes the pages.

use std::fs::File;
use std::net::Shutdown;
use std::sync::mpsc;

use bufferlist::EndpointKind as Kind;
use bufferlist::{Receipt, Sink, Source};
use zctrace_report::{Call, EndKind};

use super::{Done, Trip, at_once};
use crate::commands::demo::endpoints::{Tcp, WholeBlocks, set_direct};
use crate::commands::demo::fixture::{Cause, Stage};
use crate::commands::demo::payload::Arrival;

pub(super) const TO_FILE: &str = "file → pipe → TCP → pipe → file";
pub(super) const TO_DISK: &str = "file → pipe → TCP → pipe → disk";

/// Into a file through the page cache.
pub(super) fn to_file(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let file = stage.file()?;
    let len = stage.content().len();
    let receipts = chain(stage, len, &Tcp::connect(None)?, &file)?;
    trip(stage, TO_FILE, EndKind::File, Kind::File, len, receipts, &file).map(|trip| vec![trip.done(stage)])
}

/// Into a file open with `O_DIRECT`, in whole blocks.
pub(super) fn to_disk(stage: &Stage) -> Result<Vec<Done>, Cause> {
    let file = stage.file()?;
    let len = stage.content().in_blocks();
    set_direct(&file, true)?;
    let whole = WholeBlocks::here();
    let receipts = in_step(stage, len, &Tcp::connect(Some(whole.segment()))?, &file)?;
    set_direct(&file, false)?;
    let trip = trip(
        stage,
        TO_DISK,
        EndKind::DirectFile,
        Kind::DirectFile,
        len,
        receipts,
        &file,
    )?;
    Ok(vec![Done {
        note: Some(whole.note()),
        ..trip.done(stage)
    }])
}

/// From the source file through the socket into `file`: the receipts of both sides.
fn chain(stage: &Stage, len: u64, tcp: &Tcp, file: &File) -> Result<Vec<Receipt>, Cause> {
    tcp.far.set_nonblocking(true)?;
    let send = || {
        let receipt = stage.pump(stage.source(len)?, Sink::stream(&tcp.near)?);
        // Tells the other side that this was all, or that no more will come. It may be gone already, which the receipt then says.
        let _ = tcp.near.shutdown(Shutdown::Write);
        receipt
    };
    let receive = || {
        let receipt = stage.pump(Source::stream(&tcp.far)?, Sink::file(file, 0)?);
        if receipt.is_err() {
            // The sender must not wait for a receiver that has given up.
            let _ = tcp.far.shutdown(Shutdown::Both);
        }
        receipt
    };
    let (near, far) = at_once(send, receive)?;
    Ok(vec![near, far])
}

/// As [`chain`], but nothing more is sent until what was sent is in the file. A receiver that falls behind closes its
/// window, and what the kernel sends to probe a closed window is cut at any byte (`tcp_write_wakeup` in
/// net/ipv4/`tcp_output.c`): from there on no segment would hold whole blocks.
fn in_step(stage: &Stage, len: u64, tcp: &Tcp, file: &File) -> Result<Vec<Receipt>, Cause> {
    tcp.far.set_nonblocking(true)?;
    let pieces = || {
        let size = WholeBlocks::under_way();
        (0..len).step_by(size as usize).map(move |at| at..len.min(at + size))
    };
    let (taken, arrived) = mpsc::channel();
    let send_all = || {
        let mut receipt = Receipt::default();
        for piece in pieces() {
            let bytes = piece.end - piece.start;
            receipt += stage.pump_some(stage.part(piece)?, Sink::stream(&tcp.near)?, bytes)?;
            if arrived.recv().is_err() {
                // The receiver has given up, and says why.
                break;
            }
        }
        Ok(receipt)
    };
    let send = || {
        let receipt = send_all();
        // The receiver must not wait for what will not come.
        let _ = tcp.near.shutdown(Shutdown::Write);
        receipt
    };
    let receive = move || {
        let mut receipt = Receipt::default();
        for piece in pieces() {
            let (at, bytes) = (piece.start, piece.end - piece.start);
            receipt += stage.pump_some(Source::stream(&tcp.far)?, Sink::file(file, at)?, bytes)?;
            let _ = taken.send(());
        }
        Ok(receipt)
    };
    let (near, far) = at_once(send, receive)?;
    Ok(vec![near, far])
}

fn trip(
    stage: &Stage,
    name: &'static str,
    to: EndKind,
    asked: Kind,
    len: u64,
    receipts: Vec<Receipt>,
    file: &File,
) -> Result<Trip, Cause> {
    Ok(Trip {
        name,
        stations: vec![EndKind::File, EndKind::Pipe, EndKind::Tcp, EndKind::Pipe, to],
        from: stage.file_name(),
        to: stage.file_name(),
        calls: vec![Call::Splice],
        len,
        receipts,
        arrival: Arrival::of_file(file)?,
        oracle: stage.ask(&[Kind::File, Kind::Tcp, asked]),
    })
}
