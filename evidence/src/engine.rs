//! The engine of a trace: inputs in, reports out.
//!
//! The engine performs no I/O and reads no clock. It requests call sites of addresses by
//! [`Engine::take_symbol_requests`], and receives each answer as an [`Input`]. So equal inputs
//! yield equal reports, live or recorded.

use std::collections::HashMap;

use zctrace_records::{IoCounterKey, IoCounters, program};

use crate::Evidence;
use crate::collections::fast_map::FastMap;
use crate::input::{Costs, Input, Losses, SymbolRequest, TraceHeader};
use crate::sequence_gaps::SequenceGaps;
use zctrace_records::decode::{Decoder, RecordRef};
use zctrace_report::{self as report, CallSite, Loss, Report, Tier};

/// Maximum number of call sites that are kept.
const MAX_PLACES: usize = 65_536;

/// Engine of one trace: the evidence, and the accounting of time, loss and cost.
#[derive(Debug)]
pub struct Engine {
    header: TraceHeader,
    evidence: Evidence,
    decoder: Decoder,
    gaps: SequenceGaps,
    call_sites: FastMap<SymbolRequest, Option<CallSite>>,
    symbol_requests: Vec<SymbolRequest>,
    /// Losses of programs, in the order in which programs were first reported.
    losses: Vec<Losses>,
    costs: Costs,
    /// Time since tracing began, in nanoseconds: now, and at the latest reset.
    now_ns: u64,
    began_ns: u64,
    records: u64,
    record_bytes: u64,
    damaged: u64,
    not_recorded: u64,
    calls: u64,
    /// Counters of plain calls, and their values at the latest reset.
    plain: HashMap<IoCounterKey, IoCounters>,
    plain_before: HashMap<IoCounterKey, IoCounters>,
}

impl Engine {
    /// Creates the engine before any input.
    pub fn new(header: TraceHeader) -> Self {
        Self {
            evidence: Evidence::new(header.config.clone()),
            header,
            decoder: Decoder::default(),
            gaps: SequenceGaps::default(),
            call_sites: FastMap::default(),
            symbol_requests: Vec::new(),
            losses: Vec::new(),
            costs: Costs::default(),
            now_ns: 0,
            began_ns: 0,
            records: 0,
            record_bytes: 0,
            damaged: 0,
            not_recorded: 0,
            calls: 0,
            plain: HashMap::new(),
            plain_before: HashMap::new(),
        }
    }

    /// Processes one input.
    pub fn take(&mut self, input: Input<'_>) {
        match input {
            Input::Record(bytes) => self.record(bytes),
            Input::IoCounters(sums) => self.take_plain(sums),
            Input::OpenDigests(rows) => {
                self.evidence.open_digests(rows);
                for (_, row) in rows {
                    self.ask(SymbolRequest {
                        tgid: row.span.tgid,
                        user_ip: row.span.user_ip,
                    });
                }
            }
            Input::Losses(rows) => {
                for row in rows {
                    match self.losses.iter_mut().find(|have| have.number == row.number) {
                        Some(have) => have.clone_from(row),
                        None => self.losses.push(row.clone()),
                    }
                }
                if self.loss().any() {
                    self.evidence.records_lost();
                }
            }
            Input::Journal(event) => self.evidence.journal_event(event),
            Input::Symbol(request, call_site) => {
                self.call_sites.insert(request, call_site.cloned());
            }
            Input::Costs(costs) => self.costs = costs,
            Input::Time(now_ns) => self.now_ns = now_ns,
            Input::Reset => {
                self.evidence.reset();
                self.plain_before.clone_from(&self.plain);
                self.began_ns = self.now_ns;
            }
            Input::End => self.evidence.end_of_trace(),
            Input::NotRecorded(records) => {
                self.not_recorded = self.not_recorded.saturating_add(records);
                self.evidence.records_lost();
            }
        }
    }

    fn record(&mut self, bytes: &[u8]) {
        self.records += 1;
        self.record_bytes += bytes.len() as u64;
        let Ok(record) = self.decoder.decode(bytes) else {
            self.damaged += 1;
            self.evidence.records_lost();
            return;
        };
        if self.gaps.note(record.program(), record.header()) {
            self.evidence.records_lost();
        }
        self.calls += u64::from(matches!(record, RecordRef::Call(_) | RecordRef::Digest(_)));
        if let Some(request) = self.evidence.record(record) {
            self.ask(request);
        }
    }

    /// Adds a symbol request unless it was made before.
    fn ask(&mut self, request: SymbolRequest) {
        if self.call_sites.len() < MAX_PLACES && !self.call_sites.contains_key(&request) {
            self.call_sites.insert(request, None);
            self.symbol_requests.push(request);
        }
    }

    fn take_plain(&mut self, sums: &[(IoCounterKey, IoCounters)]) {
        for (key, sum) in sums {
            self.plain.insert(*key, *sum);
            let Some(new) = since(sum, self.plain_before.get(key)) else {
                continue;
            };
            self.evidence.io_counters([(*key, new)]);
            self.ask(SymbolRequest {
                tgid: key.tgid,
                user_ip: sum.user_ip,
            });
        }
    }

    /// Removes and returns requests that are to be answered soon by [`Input::Symbol`]. Without
    /// answers a report has no call sites.
    pub fn take_symbol_requests(&mut self) -> Vec<SymbolRequest> {
        std::mem::take(&mut self.symbol_requests)
    }

    fn loss(&self) -> Loss {
        let mut loss = Loss::default();
        for program in &self.losses {
            // These two programs run for every packet and message of the machine, so the kernel
            // skips them now and then. They only record messages of traced UNIX sockets, of which
            // there may be none.
            let of_unix = matches!(program.number, program::CONSUME_SKB | program::KFREE_SKB);
            if of_unix && !self.evidence.has_unix_streams() {
                continue;
            }
            let row = report::ProgramLoss {
                program: program.program.clone(),
                reserve_failures: program.failures,
                sequence_gaps: self.gaps.lost_by(program.number),
                recursion_misses: program.recursion_misses,
            };
            loss.reserve_failures = loss.reserve_failures.saturating_add(row.reserve_failures);
            loss.recursion_misses = loss.recursion_misses.saturating_add(row.recursion_misses);
            loss.sequence_gaps = loss.sequence_gaps.saturating_add(row.sequence_gaps);
            if row.reserve_failures | row.recursion_misses | row.sequence_gaps > 0 {
                loss.programs.push(row);
            }
        }
        if self.not_recorded > 0 {
            // Records that were not recorded leave sequence gaps too, as records without space in
            // the ring buffer do.
            loss.reserve_failures = loss.reserve_failures.saturating_add(self.not_recorded);
            loss.programs.push(report::ProgramLoss {
                program: "the recording".to_owned(),
                reserve_failures: self.not_recorded,
                ..report::ProgramLoss::default()
            });
        }
        if self.damaged > 0 {
            // The program that wrote an undecodable record cannot be determined.
            loss.sequence_gaps = loss.sequence_gaps.saturating_add(self.damaged);
            loss.programs.push(report::ProgramLoss {
                program: "unreadable records".to_owned(),
                sequence_gaps: self.damaged,
                ..report::ProgramLoss::default()
            });
        }
        loss
    }

    /// Returns a report of the trace so far, with at most `max_rows` rows per list.
    pub fn report(&self, max_rows: usize) -> Report {
        let mut report = Report::new(Tier::T0, self.header.scope.clone());
        report.provenance.kernel_release.clone_from(&self.header.kernel);
        report.provenance.object_hash = Some(self.header.object.clone());
        report.provenance.started_unix_ms = self.header.started_unix_ms;
        report.provenance.duration_ns = self.now_ns.saturating_sub(self.began_ns);
        report.loss = self.loss();
        report.coverage.clone_from(&self.header.coverage);
        report.pipe_limits = self.header.pipe_limits;
        report.overhead.per_syscall_ns = self.header.per_syscall_ns;
        self.evidence.fill(&mut report, &|tgid, user_ip| {
            self.call_sites.get(&SymbolRequest { tgid, user_ip }).cloned().flatten()
        });
        if report.loss.any() {
            let touched = |flow: &&report::Flow| {
                let lost = report::ReasonCode::from(zctrace_contract::Reason::LostRecords);
                flow.reasons.iter().any(|cause| cause.code == lost)
            };
            report.loss.affected_flows = report.flows.iter().filter(touched).count() as u64;
        }
        report.overhead.own_cpu_ns = self.costs.own_cpu_ns;
        report.overhead.reader_cpu_ns = self.costs.own_cpu_ns;
        report.overhead.bpf_programs_ns = self.costs.programs_ns;
        report.overhead.records = self.records;
        report.overhead.record_bytes = self.record_bytes;
        report.finish(max_rows);
        report.bound_lists(max_rows.max(200));
        report
    }

    /// Returns the number of calls and records so far.
    pub fn progress(&self) -> (u64, u64) {
        (self.calls, self.records)
    }

    /// Returns the time since tracing began, in nanoseconds, as of the latest [`Input::Time`].
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Returns the facts that were known before the first input.
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    /// Returns whether bytes that were sent to sockets are still in flight.
    pub fn has_data_in_flight(&self) -> bool {
        self.evidence.has_data_in_flight()
    }
}

/// Returns what was added since the latest reset; `None` if nothing was.
fn since(sum: &IoCounters, before: Option<&IoCounters>) -> Option<IoCounters> {
    let before = before.copied().unwrap_or_default();
    let new = IoCounters {
        bytes: sum.bytes.saturating_sub(before.bytes),
        calls: sum.calls.saturating_sub(before.calls),
        failed: sum.failed.saturating_sub(before.failed),
        small_bytes: sum.small_bytes.saturating_sub(before.small_bytes),
        small_calls: sum.small_calls.saturating_sub(before.small_calls),
        ..*sum
    };
    (new.calls | new.failed > 0).then_some(new)
}
