//! Consistency check of reports: a table of rules, each with a function that finds violations.
//!
//! The check runs before a report is printed or used, because a report that contradicts itself
//! proves nothing. Each rule reads the whole report and is independent of the other rules, so a
//! rule is added by adding a row to [`CHECK_RULES`].

mod certificates;
mod reasons;
mod references;
mod sums;

use std::fmt::Display;

use super::Report;
use super::violation::{Rule, Violation};

/// One row of the table of rules.
#[derive(Debug)]
pub struct CheckRule {
    /// Name of the rule, unique in the table.
    pub name: &'static str,
    /// Requirement on a report, in one sentence.
    pub requirement: &'static str,
    find: fn(&Report, &mut Violations),
}

impl CheckRule {
    const fn new(name: &'static str, requirement: &'static str, find: fn(&Report, &mut Violations)) -> Self {
        Self {
            name,
            requirement,
            find,
        }
    }

    /// Returns the violations of this rule.
    ///
    /// ```
    /// use zctrace_report::{CHECK_RULES, Report, Scope, Tier};
    ///
    /// let report = Report::new(Tier::L, Scope::default());
    /// assert!(CHECK_RULES.iter().all(|rule| rule.violations(&report).is_empty()));
    /// ```
    pub fn violations(&self, report: &Report) -> Vec<Violation> {
        let mut found = Violations::default();
        (self.find)(report, &mut found);
        found.0
    }
}

/// Rules of a report. `Report::check` reports violations in this order.
///
/// Rules about flows come first, because totals and share follow from the flows.
pub const CHECK_RULES: &[CheckRule] = &[
    CheckRule::new(
        "conservation",
        "moved + copied + unknown + excluded is the number of bytes.",
        sums::conservation,
    ),
    CheckRule::new(
        "flow numbers",
        "Flow numbers start at 1 and are unique, and a row stands for at least one flow.",
        references::flow_numbers,
    ),
    CheckRule::new(
        "path",
        "A path begins and ends with the kinds of the flow's endpoints.",
        references::paths,
    ),
    CheckRule::new(
        "copied bytes",
        "Copies wrote each copied byte at least once, and nothing if no byte was copied.",
        sums::copy_bytes,
    ),
    CheckRule::new(
        "copies per byte",
        "`copies_per_byte` follows from `copy_bytes` and the delivered bytes.",
        sums::copies_per_byte,
    ),
    CheckRule::new(
        "reason codes",
        "A reason code is `ZC` and two to four digits.",
        reasons::codes,
    ),
    CheckRule::new(
        "reasons exceed",
        "Reasons explain at most the copied and unknown bytes.",
        reasons::exceed,
    ),
    CheckRule::new(
        "unexplained",
        "Every unknown byte has a reason, and copied bytes have at least one.",
        reasons::unexplained,
    ),
    CheckRule::new(
        "lost records",
        "Lost records are a reason only if records were lost.",
        reasons::lost_records,
    ),
    CheckRule::new(
        "moved needs a certificate",
        "Moved bytes of a tier that observes pages have a certificate.",
        certificates::present,
    ),
    CheckRule::new(
        "certificate",
        "A certificate names its horizon, and covers all moved bytes of a flow but not more than its payload.",
        certificates::coverage,
    ),
    CheckRule::new(
        "proof",
        "The certificate of a moved flow proves every hop: same page, custody, and all bytes.",
        certificates::proof,
    ),
    CheckRule::new(
        "custody",
        "The first station has no custody, and custody is assumed only where the axiom of page references holds.",
        certificates::custody,
    ),
    CheckRule::new(
        "segment names",
        "Segment names cover at most the bytes of their station.",
        certificates::segment_names,
    ),
    CheckRule::new(
        "journal agreement",
        "A journal that does not agree with the kernel's records has a reason.",
        certificates::agreement,
    ),
    CheckRule::new(
        "references",
        "Edges, peeks and segments refer to flows of the report.",
        references::flows,
    ),
    CheckRule::new(
        "ranges",
        "A byte range does not end before it starts.",
        references::ranges,
    ),
    CheckRule::new("totals", "Totals are the sums over their flows.", sums::totals),
    CheckRule::new(
        "share",
        "The share is that of the totals, and absent if no payload was delivered.",
        sums::share,
    ),
    CheckRule::new(
        "losses",
        "The losses of all programs add up to the total losses.",
        sums::losses,
    ),
    CheckRule::new(
        "overhead",
        "Measured times are finite and not negative, and a part does not exceed its whole.",
        sums::overhead,
    ),
];

/// Violations found so far.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    /// Adds a violation of `rule` at `at` unless `holds`.
    fn require(&mut self, holds: bool, at: impl Display, rule: impl FnOnce() -> Rule) {
        if !holds {
            self.0.push(Violation {
                at: at.to_string(),
                rule: rule(),
            });
        }
    }
}

impl Report {
    /// Checks all rules of [`CHECK_RULES`].
    ///
    /// # Errors
    /// Returns all violations, in the order of the table.
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
        let mut found = Violations::default();
        for rule in CHECK_RULES {
            (rule.find)(self, &mut found);
        }
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }
}
