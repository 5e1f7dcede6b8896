//! Names of stations and calls in a report.

use zctrace_records::nr;

use super::{io_uring, other_calls};
use crate::decode::endpoints::{EndpointId, Endpoints};
use zctrace_report::{Call, Endpoint, EndpointKind, Station, StationKind};

/// Returns the name of a call in a report.
pub(crate) fn call_of(number: u32) -> Call {
    match number {
        nr::SPLICE => Call::Splice,
        nr::TEE => Call::Tee,
        nr::VMSPLICE => Call::Vmsplice,
        nr::SENDFILE => Call::Sendfile,
        nr::COPY_FILE_RANGE => Call::CopyFileRange,
        nr::READ | nr::READV | nr::PREAD64 | nr::PREADV | nr::PREADV2 => Call::Read,
        nr::WRITE | nr::WRITEV | nr::PWRITE64 | nr::PWRITEV | nr::PWRITEV2 => Call::Write,
        nr::SENDTO | nr::SENDMSG | nr::SENDMMSG => Call::Send,
        nr::RECVFROM | nr::RECVMSG | nr::RECVMMSG => Call::Recv,
        other => Call::Other(
            io_uring::name_of(other)
                .or_else(|| other_calls::name_of(other).map(str::to_owned))
                .unwrap_or_else(|| format!("syscall {other}")),
        ),
    }
}

/// Returns the station at which bytes of an endpoint are observed.
pub(crate) fn station(ends: &Endpoints, id: EndpointId) -> Station {
    station_of(ends.report(id))
}

/// Returns the station of an endpoint that is in report form already.
pub(crate) fn station_of(end: Endpoint) -> Station {
    let kind = match end.kind {
        EndpointKind::Pipe => StationKind::PipeSlot,
        EndpointKind::Tcp | EndpointKind::Udp | EndpointKind::Unix | EndpointKind::Socket => StationKind::SkbFrag,
        EndpointKind::DirectFile => StationKind::BioVec,
        EndpointKind::Memory => StationKind::UserPage,
        _ => StationKind::PageCache,
    };
    Station::new(kind, end)
}

/// Returns the name of the probe that observes bytes at a station.
pub(super) fn seen_by(kind: &StationKind, of: &EndpointKind) -> &'static str {
    match kind {
        StationKind::PipeSlot => "the ring before and after the call",
        StationKind::SkbFrag if *of == EndpointKind::Unix => "consume_skb",
        StationKind::SkbFrag => "net_dev_start_xmit",
        StationKind::BioVec => "block_bio_queue",
        StationKind::UserPage => "the page's own address, or the slot's kind",
        _ => "the page's own file and index",
    }
}

/// Returns the last station that a verdict covers, in words.
pub(super) fn horizon(ends: &Endpoints, to: EndpointId) -> String {
    let end = ends.report(to);
    match end.kind {
        EndpointKind::Tcp => "the network device that sends".to_owned(),
        EndpointKind::Unix => "the receiver of the UNIX socket".to_owned(),
        EndpointKind::DirectFile | EndpointKind::BlockDevice => "the block layer".to_owned(),
        _ => end.to_string(),
    }
}
