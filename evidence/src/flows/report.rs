//! The report of the current state, which it does not change.

use super::digest_flows::DigestFlows;
use super::edges::InFlight;
use super::flow_stats::Arrival;
use super::io_counters;
use super::report_flows::Symbols;
use crate::evidence::Evidence;
use crate::history::{Hop, Outcome};
use crate::journal::FlowsOf;
use crate::span::Span;
use zctrace_contract::Reason;
use zctrace_report::{Process, Report};

impl Evidence {
    /// Adds the current state to a report: flows, edges, peeks, processes and coverage gaps.
    ///
    /// Bytes in flight are unknown in the report, and stay in flight.
    pub fn fill(&self, report: &mut Report, symbols: &Symbols<'_>) {
        let mut flows = self.deliveries.flows.clone();
        let mut histories = self.deliveries.histories.clone();
        let mut in_flight = Vec::new();
        for (sent, packets) in self.sockets.in_flight() {
            let outcome = Outcome::Unknown(match packets {
                _ if self.is_lossy => Reason::LostRecords,
                0 => Reason::NotObserved,
                _ => Reason::StillQueued,
            });
            let by = &sent.by;
            in_flight.push(InFlight {
                edge: by.edge,
                outcome,
                user_ip: by.user_ip,
                call_id: by.call_id,
                bytes: sent.span.len,
                calls: 1,
                new_calls: 0,
            });
            let span = Span {
                history: histories.with(sent.span.history, Hop::of(outcome, by)),
                ..sent.span
            };
            let at = Arrival {
                call_id: by.call_id,
                stream: by.stream,
                position: sent.at,
                more_calls: 0,
            };
            flows.add(&span, by.edge.to, at);
        }
        let comparisons = self.digests.add_to(&mut flows, &mut histories, &mut in_flight);
        let mut flows_of = FlowsOf::new();
        let endpoints = &self.endpoints;
        flows.fill(report, endpoints, &histories, symbols, (&self.journals, &mut flows_of));
        self.deliveries.edges.fill(report, &in_flight, endpoints, symbols);
        DigestFlows::fill(report, &self.config.level, comparisons);
        io_counters::fill(report, &self.counters.io, endpoints, symbols);
        self.unseen.fill(report, &self.sockets, endpoints, &self.counters.io);
        self.counters.excluded.fill(report);
        self.counters.peeks.fill(report, symbols);
        self.journals.fill(report, &flows_of, &|pid| self.processes.name(pid));
        self.fill_processes(report);
        self.pipes.fill_usage(report, &self.processes);
        self.pipes.fill_desyncs(report);
        self.counters.zerocopy.fill(report, endpoints, &self.processes);
    }

    fn fill_processes(&self, report: &mut Report) {
        for flow in &mut report.flows {
            if let Some(name) = flow.pid.and_then(|pid| self.processes.get(pid)) {
                flow.process.clone_from(name);
            }
        }
        let mut pids: Vec<u32> = report.flows.iter().filter_map(|flow| flow.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            let mut process = Process::new(pid, self.processes.name(pid));
            for flow in report.flows.iter().filter(|flow| flow.pid == Some(pid)) {
                process.calls += flow.calls;
                if flow.ends_in_memory() {
                    process.into_memory += flow.payload;
                } else {
                    process.account += &flow.account;
                }
            }
            process.payload = process.account.total();
            report.processes.push(process);
        }
    }
}
