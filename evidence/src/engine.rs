//! The account of a trace: inputs in, reports out.
//!
//! Pure: it asks no kernel, no clock and no file. What it cannot know (which code lies at an address) it asks, see
//! [`Engine::take_symbol_requests`], and the answer is an [`Input`] too. So the same inputs give the same report, live or recorded.

use std::collections::HashMap;

use zctrace_records::{IoCounterKey, IoCounters, program};

use crate::Evidence;
use crate::collections::fast_map::FastMap;
use crate::input::{Costs, Input, Losses, SymbolRequest, TraceHeader};
use crate::sequence_gaps::SequenceGaps;
use zctrace_records::decode::{Decoder, RecordRef};
use zctrace_report::{self as report, Loss, Place, Report, Tier};

/// PositionMap that are kept.
const MAX_PLACES: usize = 65_536;

/// All that is known of a trace.
#[derive(Debug)]
pub struct Engine {
    header: TraceHeader,
    evidence: Evidence,
    decoder: Decoder,
    gaps: SequenceGaps,
    places: FastMap<SymbolRequest, Option<Place>>,
    symbol_requests: Vec<SymbolRequest>,
    /// By the program's number, in the order in which they were told.
    losses: Vec<Losses>,
    costs: Costs,
    /// Since watching began, in nanoseconds: now, and when the present account began.
    now_ns: u64,
    began_ns: u64,
    records: u64,
    record_bytes: u64,
    damaged: u64,
    not_recorded: u64,
    calls: u64,
    /// What plain calls have added up to, and what of it was there when the present account began.
    plain: HashMap<IoCounterKey, IoCounters>,
    plain_before: HashMap<IoCounterKey, IoCounters>,
}

impl Engine {
    /// Nothing has happened yet.
    pub fn new(header: TraceHeader) -> Self {
        Self {
            evidence: Evidence::new(header.config.clone()),
            header,
            decoder: Decoder::default(),
            gaps: SequenceGaps::default(),
            places: FastMap::default(),
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

    /// Takes one input.
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
            Input::Symbol(request, place) => {
                self.places.insert(request, place.cloned());
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
        let asked = match record {
            RecordRef::Pages(station) => {
                self.evidence.page_record(station);
                return;
            }
            RecordRef::Call(call) => {
                self.calls += 1;
                self.evidence.call(call);
                SymbolRequest {
                    tgid: call.header.tgid,
                    user_ip: call.user_ip,
                }
            }
            RecordRef::Name(name) => {
                self.evidence.endpoint_name(name);
                SymbolRequest {
                    tgid: name.header.tgid,
                    user_ip: 0,
                }
            }
            RecordRef::Process(process) => return self.evidence.process_event(process),
            RecordRef::Closed(closed) => return self.evidence.connection_closed(closed),
            RecordRef::PipeSnapshot(found) => return self.evidence.pipe_snapshot(found),
            RecordRef::Zerocopy(told) => return self.evidence.zerocopy_completion(told),
            RecordRef::Digest(sums) => {
                self.calls += 1;
                self.evidence.digest_event(sums);
                SymbolRequest {
                    tgid: sums.state.span.tgid,
                    user_ip: sums.state.span.user_ip,
                }
            }
            RecordRef::Unknown(_) => return,
        };
        self.ask(asked);
    }

    /// Asks what was not asked before.
    fn ask(&mut self, request: SymbolRequest) {
        if self.places.len() < MAX_PLACES && !self.places.contains_key(&request) {
            self.places.insert(request, None);
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

    /// What is to be answered by [`Input::Symbol`], soon. Who answers none gets a report without places.
    pub fn take_symbol_requests(&mut self) -> Vec<SymbolRequest> {
        std::mem::take(&mut self.symbol_requests)
    }

    fn loss(&self) -> Loss {
        let mut loss = Loss::default();
        for program in &self.losses {
            // These two see every packet and message of the machine, so they are skipped now and then; what they tell is of
            // watched UNIX sockets only, of which there may be none.
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
            // They leave gaps in the numbering too, as records for which the ring has no room do.
            loss.reserve_failures = loss.reserve_failures.saturating_add(self.not_recorded);
            loss.programs.push(report::ProgramLoss {
                program: "the recording".to_owned(),
                reserve_failures: self.not_recorded,
                ..report::ProgramLoss::default()
            });
        }
        if self.damaged > 0 {
            // Records that made no sense: whose they were cannot be told.
            loss.sequence_gaps = loss.sequence_gaps.saturating_add(self.damaged);
            loss.programs.push(report::ProgramLoss {
                program: "unreadable records".to_owned(),
                sequence_gaps: self.damaged,
                ..report::ProgramLoss::default()
            });
        }
        loss
    }

    /// What is known so far, in at most `max_rows` rows.
    pub fn report(&self, max_rows: usize) -> Report {
        let mut report = Report::new(Tier::T0, self.header.scope.clone());
        report.made_by.kernel.clone_from(&self.header.kernel);
        report.made_by.object = Some(self.header.object.clone());
        report.made_by.started_unix_ms = self.header.started_unix_ms;
        report.made_by.duration_ns = self.now_ns.saturating_sub(self.began_ns);
        report.loss = self.loss();
        report.coverage.clone_from(&self.header.coverage);
        report.pipe_limits = self.header.pipe_limits;
        report.overhead.per_syscall_ns = self.header.per_syscall_ns;
        self.evidence.fill(&mut report, &|tgid, user_ip| {
            self.places.get(&SymbolRequest { tgid, user_ip }).cloned().flatten()
        });
        if report.loss.any() {
            let touched = |flow: &&report::Flow| {
                let lost = report::ReasonCode::from(zctrace_contract::Reason::LostRecords);
                flow.reasons.iter().any(|cause| cause.code == lost)
            };
            report.loss.flows_touched = report.flows.iter().filter(touched).count() as u64;
        }
        report.overhead.own_cpu_ns = self.costs.own_cpu_ns;
        report.overhead.reader_cpu_ns = self.costs.own_cpu_ns;
        report.overhead.programs_ns = self.costs.programs_ns;
        report.overhead.records = self.records;
        report.overhead.record_bytes = self.record_bytes;
        report.finish(max_rows);
        report.bound_lists(max_rows.max(200));
        report
    }

    /// Calls and records so far.
    pub fn progress(&self) -> (u64, u64) {
        (self.calls, self.records)
    }

    /// Nanoseconds since watching began, as of the latest [`Input::Time`].
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// What was known before anything happened.
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    /// Whether bytes that were given to sockets have not been seen on their way yet.
    pub fn has_data_in_flight(&self) -> bool {
        self.evidence.has_data_in_flight()
    }
}

/// What was added since the present account began; `None` if nothing was.
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
