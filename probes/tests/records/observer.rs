//! Traces this process's own calls, and queries the records.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use zctrace_probes::probe::{LoadOptions, Probes, Record, announce};
use zctrace_records::{
    Call, ConnectionClosed, EndpointName, PageRange, PageRecord, ProcessEvent, endpoint_kind, process_event_kind,
};

/// Time limit for an event; a longer wait is a hang.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A cookie that no other tracer on this machine uses.
pub(crate) fn cookie() -> u64 {
    u64::from(std::process::id()) << 32 | 0x00c0_0c1e
}

/// The probes, tracing this thread.
pub(crate) struct Observer {
    pub(crate) probes: Probes,
    thread: u32,
    process: u32,
    /// Names of this process's endpoints since tracing began: each is recorded once.
    names: Vec<EndpointName>,
}

/// Records of one operation, in the order of the ring.
#[derive(Default)]
pub(crate) struct Observed {
    pub(crate) calls: Vec<Call>,
    pub(crate) stations: Vec<PageRecord>,
    pub(crate) processes: Vec<ProcessEvent>,
    pub(crate) closed: Vec<ConnectionClosed>,
}

impl Observer {
    /// Loads the probes and announces this process to them.
    pub(crate) fn start() -> Result<Self, String> {
        let setup = LoadOptions {
            cookie: cookie(),
            ..LoadOptions::default()
        };
        let mut probes = Probes::load(&setup).map_err(|error| format!("{error}; {}", error.hint()))?;
        announce(setup.cookie);
        let mut merged = None;
        probes.drain(&mut |bytes| {
            if let Ok(Record::Process(process)) = Record::from_bytes(bytes)
                && process.event == process_event_kind::ATTACHED
            {
                merged = Some((process.header.tid, process.header.tgid));
            }
        });
        let (thread, process) = merged.expect("a process that announces itself is seen to join");
        let names = Vec::new();
        Ok(Self {
            probes,
            thread,
            process,
            names,
        })
    }

    /// Runs an operation and returns its records: those of this thread, or about this process.
    pub(crate) fn observe<T>(&mut self, run: impl FnOnce() -> T) -> (T, Observed) {
        // Packets may be sent a little later, by any thread.
        self.observe_until(run, Observed::has_all_packets)
    }

    /// Runs an operation and reads records until the condition holds.
    pub(crate) fn observe_until<T>(
        &mut self,
        run: impl FnOnce() -> T,
        is_all: impl Fn(&Observed) -> bool,
    ) -> (T, Observed) {
        self.drain(&mut Observed::default());
        let result = run();
        let (mut observed, start) = (Observed::default(), Instant::now());
        loop {
            self.drain(&mut observed);
            if is_all(&observed) {
                return (result, observed);
            }
            assert!(start.elapsed() < TIMEOUT, "some records never come");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn drain(&mut self, observed: &mut Observed) {
        let (thread, own, names) = (self.thread, self.process, &mut self.names);
        self.probes.drain(&mut |bytes| {
            let record = Record::from_bytes(bytes).expect("no record is damaged");
            let mine = record.as_ref().header().tid == thread;
            match record {
                Record::Call(call) if mine => observed.calls.push(*call),
                Record::Pages(station) => observed.stations.push(*station),
                Record::Name(name) => names.push(*name),
                Record::Process(process) if process.header.tgid == own || process.event != process_event_kind::FORK => {
                    observed.processes.push(*process);
                }
                Record::Closed(closed) => observed.closed.push(*closed),
                Record::Unknown(header) => panic!("a record of an unknown kind: {header:?}"),
                _ => {}
            }
        });
    }

    /// Returns the name of an endpoint, root first.
    pub(crate) fn path(&self, ino: u64) -> String {
        let name = self.names.iter().find(|name| name.endpoint.ino == ino);
        let name = name.expect("the end was named");
        let parts = name.components[..name.count as usize].iter().rev();
        let text = |part: &[u8; 64]| {
            let end = part.iter().position(|&byte| byte == 0).expect("a component ends");
            String::from_utf8_lossy(&part[..end]).into_owned()
        };
        parts.map(text).collect::<Vec<_>>().join("/").replacen("//", "/", 1)
    }
}

impl Observed {
    /// Returns the only call with a number.
    pub(crate) fn call(&self, nr: u32) -> &Call {
        let found: Vec<_> = self.calls.iter().filter(|call| call.nr == nr).collect();
        assert_eq!(found.len(), 1, "calls {nr}: {found:#?}");
        found[0]
    }

    /// Returns the page ranges of a call at one station; their records must be complete, in order,
    /// and before the call's own.
    pub(crate) fn ranges(&self, call: &Call, station: u16) -> Vec<PageRange> {
        let mut ranges = Vec::new();
        let all = self
            .stations
            .iter()
            .filter(|s| s.call_id == call.call_id && s.station == station);
        for (part, station) in all.enumerate() {
            assert_eq!(station.part as usize, part);
            assert_eq!(station.flags & 1, 0, "nothing was cut");
            assert!(station.header.cpu != call.header.cpu || station.header.sequence < call.header.sequence);
            ranges.extend_from_slice(&station.ranges[..usize::from(station.count)]);
        }
        ranges
    }

    /// Returns whether all bytes sent to TCP connections were transmitted.
    fn has_all_packets(&self) -> bool {
        let sent = self.calls.iter().filter(|call| call.sink.kind == endpoint_kind::TCP);
        sent.into_iter().all(|call| {
            let runs = self.packets(call.sink.pair.source_port, call.sink.before);
            let bytes: u64 = runs.iter().map(|run| u64::from(run.1)).sum();
            bytes >= u64::from((call.sink.after as u32).wrapping_sub(call.sink.before as u32))
        })
    }

    /// Returns the bytes of all packets from a port, by sequence number relative to `start`, each
    /// byte once.
    pub(crate) fn packets(&self, port: u16, start: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut next = start as u32;
        let packets = self
            .stations
            .iter()
            .filter(|s| s.station == 3 && s.pair.source_port == port);
        for packet in packets {
            let (sum, first) = (
                packet.ranges[..usize::from(packet.count)].iter(),
                packet.position as u32,
            );
            let bytes: u32 = packet.linear + sum.map(|range| range.len).sum::<u32>();
            assert_eq!(bytes, packet.total, "linear and pieces add up");
            if first != next {
                continue;
            }
            if packet.linear > 0 {
                push(&mut runs, (0, packet.linear));
            }
            for range in &packet.ranges[..usize::from(packet.count)] {
                push(&mut runs, (address(range), range.len));
            }
            next = next.wrapping_add(packet.total);
        }
        runs
    }
}

/// A range of bytes in memory: its start (adjacent pages are continuous), and its length.
pub(crate) type Run = (u64, u32);

/// Returns the start of a page range such that ranges of adjacent pages join: 64 bytes of `struct
/// page` are 4096 bytes.
fn address(range: &PageRange) -> u64 {
    (range.page << 6).wrapping_add(u64::from(range.offset))
}

fn push(runs: &mut Vec<Run>, (at, len): Run) {
    match runs.last_mut() {
        Some((start, have)) if *start != 0 && *start + u64::from(*have) == at => *have += len,
        _ => runs.push((at, len)),
    }
}

/// Returns the joined ranges.
pub(crate) fn runs(ranges: &[PageRange]) -> Vec<Run> {
    let mut runs = Vec::new();
    for range in ranges.iter().filter(|range| range.len > 0) {
        push(&mut runs, (address(range), range.len));
    }
    runs
}

/// Returns the bytes in page ranges.
pub(crate) fn bytes(ranges: &[PageRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.len)).sum()
}

/// Returns the IDs of the eBPF programs that a process holds.
pub(crate) fn programs_of(pid: u32) -> HashSet<u32> {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return HashSet::new();
    };
    let number = |text: String| {
        text.lines()
            .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    let texts = files
        .flatten()
        .filter_map(|file| std::fs::read_to_string(file.path()).ok());
    texts.filter_map(number).collect()
}

/// Waits until none of the programs is loaded; the kernel frees them shortly after their last
/// descriptor is closed.
pub(crate) fn assert_unloaded(programs: &HashSet<u32>) {
    let start = Instant::now();
    loop {
        let loaded = aya::programs::loaded_programs().flatten().map(|info| info.id());
        let left: Vec<_> = loaded.filter(|id| programs.contains(id)).collect();
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < TIMEOUT, "programs are still there: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
