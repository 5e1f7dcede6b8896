//! Consistency check of reports. It runs before a report is printed or used, because a report that
//! contradicts itself proves nothing.

use std::collections::BTreeSet;

use zctrace_contract::Reason;
use zctrace_contract::reason::Class;

use super::Report;
use super::account::Account;
use super::cause::{Cause, ReasonCode};
use super::certificate::{Custody, Hop};
use super::flow::Flow;
use super::totals::{Share, Totals};
use super::violation::{Rule, Violation};

/// Largest accepted difference between two computations of one fraction. Rounding errors are far
/// smaller, and one byte in a gibibyte is far larger.
const TOLERANCE: f64 = 1e-12;

impl Report {
    /// Checks all rules: sums, shares, reasons, certificates and references.
    ///
    /// # Errors
    /// Returns all broken rules. Those of flows come first, because totals and share follow from
    /// the flows.
    ///
    /// ```
    /// use zctrace_report::{Account, Endpoint, EndpointKind, Flow, Report, Rule, Scope, Tier};
    ///
    /// let mut report = Report::new(Tier::L, Scope::default());
    /// let mut flow = Flow::new(Endpoint::new(EndpointKind::File, "a"), Endpoint::new(EndpointKind::Tcp, "b"));
    /// flow.set_account(Account::new(10, 0, 0));
    /// flow.payload = 11;
    /// report.add_flow(flow);
    /// report.finish(10);
    /// let broken = report.check().unwrap_err();
    /// assert_eq!(broken[0].to_string(), "flows[0]: moved + copied + unknown + excluded is 10, not 11 bytes");
    /// ```
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        let mut checker = Checker {
            report: self,
            found: Vec::new(),
        };
        checker.flows();
        checker.headline();
        checker.edges();
        checker.processes();
        checker.peeks();
        checker.segments();
        checker.loss();
        checker.overhead();
        if checker.found.is_empty() {
            Ok(())
        } else {
            Err(checker.found)
        }
    }
}

struct Checker<'a> {
    report: &'a Report,
    found: Vec<Violation>,
}

impl Checker<'_> {
    fn require(&mut self, holds: bool, at: &str, rule: impl FnOnce() -> Rule) {
        if !holds {
            self.found.push(Violation {
                at: at.to_owned(),
                rule: rule(),
            });
        }
    }

    fn conservation(&mut self, at: &str, account: &Account, total: u64) {
        let parts = account.sum();
        self.require(parts == u128::from(total), at, || Rule::Conservation { parts, total });
    }

    fn headline(&mut self) {
        let report = self.report;
        for (at, stated, in_memory) in [
            ("totals", &report.totals, false),
            ("into_memory", &report.into_memory, true),
        ] {
            self.conservation(at, &stated.account, stated.payload);
            let of: Vec<&Flow> = report
                .flows
                .iter()
                .filter(|flow| flow.ends_in_memory() == in_memory)
                .collect();
            self.totals(at, stated, &of);
        }
        self.share();
    }

    fn totals(&mut self, at: &str, stated: &Totals, flows: &[&Flow]) {
        let mut member = |name: &str, stated: u64, of: &dyn Fn(&Account) -> u64| {
            let sum: u128 = flows.iter().map(|flow| u128::from(of(&flow.account))).sum();
            self.require(sum == u128::from(stated), at, || Rule::Totals {
                member: name.to_owned(),
                flows: sum,
                stated,
            });
        };
        let account = &stated.account;
        member("moved", account.moved, &|a| a.moved);
        member("copied", account.copied, &|a| a.copied);
        member("unknown", account.unknown, &|a| a.unknown);
        member("excluded.zero", account.excluded.zero, &|a| a.excluded.zero);
        member("excluded.cloned", account.excluded.cloned, &|a| a.excluded.cloned);
        member("excluded.discarded", account.excluded.discarded, &|a| {
            a.excluded.discarded
        });
        let mut causes: BTreeSet<&String> = account.excluded.other.keys().collect();
        causes.extend(flows.iter().flat_map(|flow| flow.account.excluded.other.keys()));
        for cause in causes {
            let of = |a: &Account| a.excluded.other.get(cause).copied().unwrap_or(0);
            member(&format!("excluded.{cause}"), of(account), &of);
        }
        let sum: u128 = flows.iter().map(|flow| u128::from(flow.payload)).sum();
        self.require(sum == u128::from(stated.payload), at, || Rule::Totals {
            member: "payload".to_owned(),
            flows: sum,
            stated: stated.payload,
        });
    }

    fn share(&mut self) {
        let why = match (self.report.share, self.report.totals.share()) {
            (None, None) => return,
            (Some(_), None) => "nothing arrived, and there is no share of nothing".to_owned(),
            (None, Some(_)) => "it is missing, though something arrived".to_owned(),
            (Some(stated), Some(must)) if same_share(stated, must) => return,
            (Some(stated), Some(must)) => format!("it is {stated:?}, not {must:?}"),
        };
        self.require(false, "share", || Rule::Share { problem: why });
    }

    fn flows(&mut self) {
        let mut ids = BTreeSet::new();
        for (index, flow) in self.report.flows.iter().enumerate() {
            let at = format!("flows[{index}]");
            let id = flow.id;
            self.require(id > 0 && ids.insert(id), &at, || Rule::FlowNumber {
                problem: format!("flow number {id} is 0 or another flow's"),
            });
            self.require(flow.folded > 0, &at, || Rule::FlowNumber {
                problem: "the row stands for no flow at all".to_owned(),
            });
            self.flow(&at, flow);
        }
    }

    fn flow(&mut self, at: &str, flow: &Flow) {
        let account = &flow.account;
        self.conservation(at, account, flow.payload);
        let ends = (flow.path.first(), flow.path.last());
        let path_fits = flow.path.is_empty() || ends == (Some(&flow.from.kind), Some(&flow.to.kind));
        self.require(path_fits, at, || Rule::Path);

        let (copied, copy_bytes) = (account.copied, flow.copy_bytes);
        let copies_fit = copy_bytes >= copied && (copied > 0 || copy_bytes == 0);
        self.require(copies_fit, at, || Rule::CopyBytes { copied, copy_bytes });
        let (stated, computed) = (flow.copies_per_byte, flow.computed_copies_per_byte());
        let same = match (stated, computed) {
            (Some(stated), Some(computed)) => (stated - computed).abs() <= TOLERANCE * computed.max(1.0),
            (stated, computed) => stated.is_none() && computed.is_none(),
        };
        self.require(same, at, || Rule::CopiesPerByte { computed, stated });

        self.reasons(at, &flow.reasons, account, copy_bytes);
        self.certificate(at, flow);
    }

    /// Checks the reasons of a flow or an edge. `copies` is the number of bytes that copies wrote.
    /// A byte of a flow may count several times in it, a byte of an edge only once.
    fn reasons(&mut self, at: &str, reasons: &[Cause], account: &Account, copies: u64) {
        let (mut of_copies, mut of_unknowns, mut of_others) = (0_u128, 0_u128, 0_u128);
        for (index, cause) in reasons.iter().enumerate() {
            let at = format!("{at}.reasons[{index}]");
            self.code(&at, &cause.code);
            let explained = match cause.code.class() {
                Some(Class::Copy) => &mut of_copies,
                Some(Class::Unknown) => &mut of_unknowns,
                None => &mut of_others,
            };
            *explained += u128::from(cause.bytes);
            let lost = cause.code.reason() == Some(Reason::LostRecords) && cause.bytes > 0;
            let records_lost = self.report.loss.any();
            self.require(!lost || records_lost, &at, || Rule::LossWithoutLoss);
        }
        let (copies, unknown) = (u128::from(copies), u128::from(account.unknown));
        let all = of_copies + of_unknowns + of_others;
        for (class, explained, bytes) in [
            ("copies", of_copies, copies),
            ("unknowns", of_unknowns, unknown),
            ("both", all, copies + unknown),
        ] {
            self.require(explained <= bytes, at, || Rule::ReasonsExceed {
                class,
                explained,
                bytes,
            });
        }
        // A reason that this version does not define may explain either class.
        let bare = unknown.saturating_sub(of_unknowns + of_others);
        self.require(bare == 0, at, || Rule::Unexplained {
            class: "unknown",
            bytes: bare,
        });
        let bare = account.copied > 0 && of_copies + of_others == 0;
        self.require(!bare, at, || Rule::Unexplained {
            class: "copied",
            bytes: u128::from(account.copied),
        });
    }

    fn code(&mut self, at: &str, code: &ReasonCode) {
        self.require(code.is_well_formed(), at, || Rule::Code {
            code: code.as_str().to_owned(),
        });
    }

    fn certificate(&mut self, at: &str, flow: &Flow) {
        let tier = flow.tier.as_ref().unwrap_or(&self.report.tier);
        let moved = flow.account.moved > 0;
        let Some(certificate) = &flow.certificate else {
            self.require(!(moved && tier.observes_pages()), at, || Rule::MovedWithoutCertificate);
            return;
        };
        let at = format!("{at}.certificate");
        let (covers, payload) = (certificate.bytes, flow.payload);
        self.require(covers <= payload, &at, || Rule::Certificate {
            problem: format!("it covers {covers} bytes of a payload of {payload}"),
        });
        self.require(!certificate.horizon.is_empty(), &at, || Rule::Certificate {
            problem: "it does not say how far it goes".to_owned(),
        });
        self.custody(&at, certificate);
        self.names(&at, certificate);
        // Only a flow whose bytes all moved needs a certificate that proves *moved* at every
        // station. In a mixed flow, a station may have observed fewer bytes.
        if flow.verdict() == super::Verdict::Moved {
            let weak = certificate.moved_weakness();
            self.require(weak.is_none(), &at, || Rule::WeakCertificate {
                problem: weak.unwrap_or_default(),
            });
            let alone = flow.folded == 1;
            let arrived = flow.account.delivered();
            self.require(!alone || covers >= arrived, &at, || Rule::Certificate {
                problem: format!("it covers {covers} of the {arrived} bytes that are stated to have moved"),
            });
        }
    }

    fn custody(&mut self, at: &str, certificate: &super::Certificate) {
        let mut before: Option<&Hop> = None;
        for (index, hop) in certificate.hops.iter().enumerate() {
            let problem = match (before, &hop.custody) {
                (None, Custody::Kept | Custody::Assumed | Custody::Broken) => Some(format!(
                    "custody of the first station is `{}`, but no hop leads there",
                    hop.custody
                )),
                (Some(before), Custody::Assumed) if !hop.is_custody_axiomatic(before) => Some(format!(
                    "custody is assumed from {} to {}, where no axiom holds",
                    before.station, hop.station
                )),
                _ => None,
            };
            self.require(problem.is_none(), &format!("{at}.hops[{index}]"), || Rule::Custody {
                problem: problem.unwrap_or_default(),
            });
            before = Some(hop);
        }
    }

    fn refers_to_a_flow(&mut self, at: &str, id: Option<u64>) {
        if let Some(id) = id {
            let exists = self.report.flow(id).is_some();
            self.require(exists, at, || Rule::NoSuchFlow { id });
        }
    }

    fn edges(&mut self) {
        for (index, edge) in self.report.edges.iter().enumerate() {
            let at = format!("edges[{index}]");
            self.conservation(&at, &edge.account, edge.bytes);
            self.reasons(&at, &edge.reasons, &edge.account, edge.account.copied);
            self.refers_to_a_flow(&at, edge.flow);
        }
    }

    fn processes(&mut self) {
        for (index, process) in self.report.processes.iter().enumerate() {
            self.conservation(&format!("processes[{index}]"), &process.account, process.payload);
        }
    }

    fn peeks(&mut self) {
        for (index, look) in self.report.peeks.iter().enumerate() {
            let at = format!("peeks[{index}]");
            self.code(&at, &look.code);
            self.refers_to_a_flow(&at, look.flow);
            if let Some(range) = look.range {
                let (start, end) = (range.start, range.end);
                self.require(start <= end, &at, || Rule::Range { start, end });
            }
        }
    }

    fn segments(&mut self) {
        for (index, segment) in self.report.segments.iter().enumerate() {
            let at = format!("segments[{index}]");
            self.refers_to_a_flow(&at, segment.flow);
            for range in &segment.ranges {
                let (start, end) = (range.start, range.end);
                self.require(start <= end, &at, || Rule::Range { start, end });
            }
            self.agreement(&at, &segment.agreement, &segment.detail);
        }
    }

    /// Checks that segment names cover at most the bytes of their station, and that a journal which
    /// does not agree gives a reason.
    fn names(&mut self, at: &str, certificate: &super::Certificate) {
        for (index, hop) in certificate.hops.iter().enumerate() {
            let Some(names) = &hop.segments else { continue };
            let at = format!("{at}.hops[{index}].segments");
            let (covered, bytes) = (names.bytes, hop.bytes);
            self.require(covered <= bytes, &at, || Rule::Certificate {
                problem: format!("segments are named for {covered} of {bytes} bytes"),
            });
            let agrees = names.agreement == super::JournalAgreement::Agrees;
            self.require(!agrees || covered == bytes, &at, || Rule::Certificate {
                problem: format!("it agrees on all bytes, but names {covered} of {bytes}"),
            });
            self.agreement(&at, &names.agreement, &names.detail);
        }
    }

    fn agreement(&mut self, at: &str, word: &super::JournalAgreement, detail: &str) {
        let explained = *word == super::JournalAgreement::Agrees || !detail.is_empty();
        self.require(explained, at, || Rule::Certificate {
            problem: format!("it says `{word}` and not why"),
        });
    }

    fn loss(&mut self) {
        let loss = &self.report.loss;
        // A report may omit the list of programs. If the list is present, it is complete.
        if loss.programs.is_empty() {
            return;
        }
        for (counter, stated, programs) in [
            (
                "reserve_failures",
                loss.reserve_failures,
                sum(loss.programs.iter().map(|p| p.reserve_failures)),
            ),
            (
                "sequence_gaps",
                loss.sequence_gaps,
                sum(loss.programs.iter().map(|p| p.sequence_gaps)),
            ),
            (
                "recursion_misses",
                loss.recursion_misses,
                sum(loss.programs.iter().map(|p| p.recursion_misses)),
            ),
        ] {
            self.require(programs == u128::from(stated), "loss", || Rule::LossSums {
                counter,
                programs,
                stated,
            });
        }
    }

    fn overhead(&mut self) {
        let cost = &self.report.overhead;
        let measured = cost.per_syscall_ns.is_none_or(|ns| ns.is_finite() && ns >= 0.0);
        self.require(measured, "overhead.per_syscall_ns", || Rule::Measure {
            problem: format!("{:?} is not a time", cost.per_syscall_ns),
        });
        let part = cost.reader_cpu_ns <= cost.own_cpu_ns;
        self.require(part, "overhead.reader_cpu_ns", || Rule::Measure {
            problem: format!(
                "{} ns is more than all of zctrace took, {} ns",
                cost.reader_cpu_ns, cost.own_cpu_ns
            ),
        });
    }
}

fn sum(numbers: impl Iterator<Item = u64>) -> u128 {
    numbers.map(u128::from).sum()
}

fn same_share(stated: Share, must: Share) -> bool {
    // A comparison with NaN is false, so a share that is not a number equals nothing. The shares 1
    // and 0 must be exact.
    let same = |stated: f64, must: f64| {
        (stated - must).abs() <= TOLERANCE && ((stated >= 1.0) == (must >= 1.0)) && ((stated > 0.0) == (must > 0.0))
    };
    same(stated.moved, must.moved) && same(stated.copied, must.copied) && same(stated.unknown, must.unknown)
}
