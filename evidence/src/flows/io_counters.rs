//! Plain reads, writes, sends and receives that the kernel counted, and requests of `io_uring`. By
//! contract each of them copies between an endpoint and the program's memory, except for the
//! requests that [`io_uring`](super::io_uring) lists, which are unknown.

use std::collections::{BTreeMap, HashMap};

use zctrace_contract::Reason;
use zctrace_records::{IoCounterKey, IoCounters, endpoint_kind, io_counter_flag, nr};

use super::report_flows::Symbols;
use super::stations::{call_of, station_of};
use super::{io_uring, other_calls, socket_peeks};
use crate::decode::endpoints::{EndpointId, Endpoints};
use zctrace_report::{self as report, Account, Cause, Edge, Endpoint, EndpointKind, Excluded, Flow, Peek};

/// `MSG_PEEK` and `MSG_TRUNC` (include/linux/socket.h).
const MSG_PEEK: u32 = 2;
const MSG_TRUNC: u32 = 0x20;
/// Name of the memfd that is the journal (bufferlist/src/journal).
const JOURNAL_NAME: &str = "bufferlist-journal";
/// `MSG_PROBE` (include/linux/socket.h): nothing is sent.
const MSG_PROBE: u32 = 0x10;

/// Returns whether a call reads into memory; otherwise it writes from memory.
pub(super) fn is_read(number: u32) -> bool {
    matches!(
        number,
        nr::READ | nr::READV | nr::PREAD64 | nr::PREADV | nr::PREADV2 | nr::RECVFROM | nr::RECVMSG | nr::RECVMMSG
    ) || io_uring::reads(number)
        || other_calls::reads(number)
}

/// Returns whether the results of a row's calls are numbers of messages.
pub(super) fn counts_messages(key: &IoCounterKey) -> bool {
    key.op_flags & io_counter_flag::BYTES_NOT_KNOWN != 0
}

/// Adds a flow and an edge for each process, call and endpoint to a report.
pub(super) fn fill(
    report: &mut report::Report,
    sums: &HashMap<IoCounterKey, IoCounters>,
    ends: &Endpoints,
    symbols: &Symbols<'_>,
) {
    let mut rows: Vec<_> = sums.iter().collect();
    rows.sort_by_key(|(key, _)| {
        let identity = (key.dev, key.ino, key.generation, key.kind);
        (key.tgid, key.nr, identity, key.op_flags)
    });
    let mut mappings: BTreeMap<_, (Endpoint, u64, u64)> = BTreeMap::new();
    for (key, sum) in rows {
        if let Some(operation) = io_uring::without_endpoint(key.nr) {
            report.coverage.not_covered.push(report::NotCovered {
                operation,
                calls: Some(sum.calls),
                bytes: Some(sum.bytes).filter(|&bytes| bytes > 0),
                endpoint: None,
            });
            continue;
        }
        let end = endpoint_of(key, ends);
        if key.nr == nr::MMAP {
            let row = mappings
                .entry((key.dev, key.ino, key.generation))
                .or_insert((end, 0, 0));
            if key.op_flags & io_counter_flag::WRITABLE != 0 {
                row.1 += sum.calls;
            }
            row.2 += sum.bytes;
            continue;
        }
        if let Some(row) = not_covered(key, sum, &end) {
            report.coverage.not_covered.push(row);
            continue;
        }
        if !is_read(key.nr) && key.op_flags & MSG_PROBE != 0 {
            continue;
        }
        let call_site = symbols(key.tgid, sum.user_ip);
        if is_read(key.nr) && key.op_flags & MSG_PEEK != 0 {
            // With both flags, TCP returns the length and copies nothing (net/ipv4/tcp.c:
            // `tcp_recvmsg_locked()`).
            if !discards(key) {
                report.peeks.push(peek(key, sum, call_site));
            }
            continue;
        }
        let (from, to) = match key.nr {
            number if is_read(number) => (end, ends.report(EndpointId::MEMORY)),
            number if io_uring::is_transfer(number) || number == nr::IOCTL => {
                (Endpoint::new(EndpointKind::Various, ""), end)
            }
            _ => (ends.report(EndpointId::MEMORY), end),
        };
        let (account, reasons) = judge(key, sum, (&from, &to), call_site.as_ref());
        let mut edge = Edge::new(call_of(key.nr), station_of(from.clone()), station_of(to.clone()));
        edge.pid = Some(key.tgid);
        edge.calls = sum.calls;
        edge.failed_calls = sum.failed;
        edge.set_account(account.clone());
        edge.reasons.clone_from(&reasons);
        report.edges.push(edge);
        if sum.bytes == 0 {
            continue;
        }
        let mut flow = Flow::new(from, to);
        flow.pid = Some(key.tgid);
        flow.calls = sum.calls;
        flow.call_names = vec![call_of(key.nr)];
        flow.copy_bytes = account.copied;
        flow.set_account(account);
        flow.reasons = reasons;
        report.append_flow(flow);
    }
    for (file, calls, bytes) in mappings.into_values() {
        list_mapping(report, &file, calls, bytes);
    }
}

/// Returns whether a receive copies nothing: TCP discards what is received with `MSG_TRUNC`
/// (tcp(7)).
fn discards(key: &IoCounterKey) -> bool {
    key.op_flags & MSG_TRUNC != 0 && key.kind == endpoint_kind::TCP
}

/// Returns whether a receive can have returned more bytes than it copied.
///
/// With `MSG_TRUNC` the result is the length of the datagram (recv(2)), except on UNIX streams
/// (`net/unix/af_unix.c`: `unix_stream_read_generic()`). The eBPF programs know the size of the
/// buffers of recv and recvmsg only.
fn can_exceed_memory(key: &IoCounterKey) -> bool {
    (key.nr == nr::RECVMMSG || io_uring::is_request(key.nr))
        && is_read(key.nr)
        && key.op_flags & MSG_TRUNC != 0
        && !matches!(key.kind, endpoint_kind::TCP | endpoint_kind::UNIX_STREAM)
}

/// Returns the row of calls whose bytes have no verdict; `None` for calls that have one.
fn not_covered(key: &IoCounterKey, sum: &IoCounters, end: &Endpoint) -> Option<report::NotCovered> {
    let (what, bytes) = if can_exceed_memory(key) {
        let what = format!(
            "bytes of {} with MSG_TRUNC on {end}, whose results can exceed its buffers",
            call_of(key.nr)
        );
        (what, None)
    } else if counts_messages(key) {
        (format!("bytes of {} on {end}", call_of(key.nr)), None)
    } else if key.op_flags & io_counter_flag::NOT_OF_BUFFER != 0 {
        let what = format!("bytes of a packet ring, sent by {} on {end}", call_of(key.nr));
        (what, Some(sum.bytes))
    } else {
        return None;
    };
    Some(report::NotCovered {
        operation: what,
        calls: Some(sum.calls),
        bytes,
        endpoint: Some(end.clone()),
    })
}

/// Returns the verdicts of a row's bytes, by the contract of its calls, with the reasons.
fn judge(
    key: &IoCounterKey,
    sum: &IoCounters,
    (from, to): (&Endpoint, &Endpoint),
    call_site: Option<&report::CallSite>,
) -> (Account, Vec<Cause>) {
    let mut account = Account::default();
    let mut reasons = Vec::new();
    if !io_uring::copies(key) {
        account.unknown = sum.bytes;
        if sum.bytes > 0 {
            reasons = vec![Cause::new(Reason::AsyncIo, sum.bytes, sum.calls)];
        }
    } else if let Some((known, reason)) = other_calls::account_of(key, sum.bytes) {
        account = known;
        reasons.extend(reason.map(|reason| Cause::new(reason, sum.bytes, sum.calls)));
    } else if is_read(key.nr) && discards(key) {
        account.excluded = Excluded {
            discarded: sum.bytes,
            ..Excluded::default()
        };
    } else if to.kind == EndpointKind::Null {
        account.excluded.discarded = sum.bytes;
    } else if from.kind == EndpointKind::Null {
        // Only /dev/zero returns bytes, which it clears in place (drivers/char/mem.c:
        // `read_zero()`).
        account.excluded.zero = sum.bytes;
    } else {
        account.copied = sum.bytes;
        reasons = causes(key, sum, to, call_site);
    }
    (account, reasons)
}

/// Returns the peeks that a receive with `MSG_PEEK` made.
fn peek(key: &IoCounterKey, sum: &IoCounters, call_site: Option<report::CallSite>) -> Peek {
    let mut peek = Peek::new(sum.bytes, sum.calls);
    peek.call_site = call_site;
    socket_peeks::METHOD.clone_into(&mut peek.method);
    peek.pid = Some(key.tgid);
    peek
}

/// Lists a file that programs mapped. No probe observes what they read and write there. The journal
/// of `bufferlist` is no payload. `calls` counts the mappings that can be written: only they leave
/// rules about the file open.
fn list_mapping(report: &mut report::Report, file: &Endpoint, calls: u64, bytes: u64) {
    if file.name.contains(JOURNAL_NAME) {
        return;
    }
    report.coverage.not_covered.push(report::NotCovered {
        operation: format!("{file}, mapped as shared memory ({bytes} bytes), not observed"),
        calls: Some(calls).filter(|&calls| calls > 0),
        bytes: None,
        endpoint: Some(file.clone()),
    });
}

/// Returns the endpoint of a row.
fn endpoint_of(key: &IoCounterKey, ends: &Endpoints) -> Endpoint {
    let is_file = matches!(key.kind, endpoint_kind::FILE | endpoint_kind::BLOCK);
    let is_buffered = key.op_flags & io_counter_flag::BUFFERED != 0;
    let is_direct = is_file && key.op_flags & io_counter_flag::NO_CONTRACT != 0 && !is_buffered;
    let known = match key.kind {
        // Pipes are one endpoint for the engine.
        endpoint_kind::PIPE => Some(ends.report(EndpointId::PIPE)),
        endpoint_kind::MEMORY => Some(ends.report(EndpointId::MEMORY)),
        _ => ends.counted(key, is_direct),
    };
    known.unwrap_or_else(|| Endpoint::new(EndpointKind::Device, format!("[{}]", key.ino)))
}

fn causes(key: &IoCounterKey, sum: &IoCounters, to: &Endpoint, call_site: Option<&report::CallSite>) -> Vec<Cause> {
    let cause = |reason, bytes, calls| Cause {
        call_site: call_site.cloned(),
        ..Cause::new(reason, bytes, calls)
    };
    if is_read(key.nr) {
        return vec![cause(Reason::IntoMemory, sum.bytes, sum.calls)];
    }
    let small = if to.kind.is_socket() { sum.small_bytes } else { 0 };
    let small_calls = if to.kind.is_socket() { sum.small_calls } else { 0 };
    let mut causes = Vec::new();
    if sum.bytes > small {
        causes.push(cause(Reason::FromMemory, sum.bytes - small, sum.calls - small_calls));
    }
    if small > 0 {
        causes.push(cause(Reason::SmallWrite, small, small_calls));
    }
    causes
}
