//! Coverage of a trace: which facts can be observed, and what no probe covers. Part of every
//! report.

use super::syscalls;
use crate::facts::{DIGESTS, EXISTING_PIPES, FACTS, FactSpec, SelftestResults};
use crate::layout::offsets::KernelOffsets;
use crate::probe::{Hooks, Probes};
use zctrace_report::{Coverage, Fact, FactStatus, NotCovered, Tier};

/// Events that no raw tracepoint covers. The system calls that no program counts are in
/// [`syscalls`].
const NOT_COVERED: [&str; 9] = [
    "copies that the program makes in its own memory (memcpy)",
    "files that the program reads and writes as memory (mmap)",
    "the pages that requests of io_uring and Linux AIO move (the requests are counted)",
    "reads, sendmmsg and socketcall of 32-bit programs (their writes, splice, tee, vmsplice and sendfile are counted)",
    "what the kernel's own threads do (nfsd, ksmbd, kTLS workers, loop devices)",
    "core dumps that the kernel writes for a process that a signal ended",
    "pages that reached this host over a network card: how the driver received them",
    "what a network device does below the one that was given the packet (bridges, tunnels, encryption)",
    "what a disk's driver does below the block layer (dm-crypt, loop, bounce buffers)",
];

/// Observations that the trace requests.
#[derive(Clone, Copy)]
pub(super) struct Requested {
    pub(super) hooks: Hooks,
    pub(super) snapshot_open_files: bool,
}

/// Returns the coverage of the attached programs.
pub(super) fn coverage_of(probes: &Probes, requested: Requested, selftest: Option<&SelftestResults>) -> Coverage {
    let Requested {
        hooks,
        snapshot_open_files,
    } = requested;
    let attached = probes.programs();
    let is_requested = |spec: &&FactSpec| match spec.name {
        DIGESTS => hooks.digest.is_some(),
        EXISTING_PIPES => snapshot_open_files && hooks.digest.is_none(),
        _ => hooks.digest.is_none(),
    };
    let of = |spec: &FactSpec| {
        let is_attached = attached.iter().any(|have| have.attached && have.name == spec.program);
        let mut fact = fact(spec, is_attached, missing_reason(probes, spec.name), selftest);
        if fact.status != FactStatus::Verified && !fact.missing_reason.is_empty() {
            fact.missing_reason = format!("{}: {}", fact.missing_reason, spec.without);
        }
        fact
    };
    Coverage {
        facts: FACTS.iter().filter(is_requested).map(of).collect(),
        not_covered: hooks
            .digest
            .map(|_| outside_level())
            .into_iter()
            .chain(not_covered())
            .chain(uring_gaps(probes))
            .collect(),
        ..Coverage::default()
    }
}

/// Returns the coverage to expect, without attaching anything: from the kernel's types and from the
/// last selftest.
pub fn expected_coverage(offsets: Option<&KernelOffsets>, selftest: Option<&SelftestResults>) -> Coverage {
    let of = |spec: &FactSpec| {
        let missing = offsets.and_then(|offsets| offsets.missing_for(spec.group));
        let missing = missing.map(|missing| format!("{missing}: {}", spec.without));
        fact(spec, missing.is_none(), missing, selftest)
    };
    Coverage {
        facts: FACTS.iter().map(of).collect(),
        not_covered: not_covered().collect(),
        ..Coverage::default()
    }
}

fn fact(spec: &FactSpec, is_attached: bool, missing: Option<String>, selftest: Option<&SelftestResults>) -> Fact {
    let mut fact = Fact {
        name: spec.name.to_owned(),
        observed_by: spec.program.to_owned(),
        tier: Tier::T0,
        status: if is_attached {
            FactStatus::Untested
        } else {
            FactStatus::Unavailable
        },
        verified_unix_ms: None,
        missing_reason: missing.unwrap_or_default(),
        hint: String::new(),
    };
    match selftest.map(|results| (results, results.alive(spec.name))) {
        // A fact that failed the selftest is not used, so its program is not attached.
        Some((_, (FactStatus::Silent, why))) => {
            (fact.status, fact.missing_reason) = (FactStatus::Silent, why);
            "zctrace selftest".clone_into(&mut fact.hint);
        }
        Some((results, (FactStatus::Verified, _))) if is_attached => {
            (fact.status, fact.verified_unix_ms) = (FactStatus::Verified, Some(results.made_unix_ms));
        }
        Some((_, (_, why))) if is_attached => {
            fact.missing_reason = why;
            "zctrace selftest --dir DIR".clone_into(&mut fact.hint);
        }
        None if is_attached => "zctrace selftest".clone_into(&mut fact.hint),
        _ => {}
    }
    fact
}

/// Returns what page digests do not cover.
fn outside_level() -> NotCovered {
    NotCovered {
        operation: "all that is not sent to a TCP connection: this level watches nothing else, peeks included"
            .to_owned(),
        ..NotCovered::default()
    }
}

/// Returns the requests of `io_uring` that the attached programs cannot count.
fn uring_gaps(probes: &Probes) -> impl Iterator<Item = NotCovered> {
    const PROGRAMS: [(&str, &str); 2] = [
        ("io_uring_submit_req", "requests of io_uring without a completion"),
        (
            "io_uring_cqe_overflow",
            "completions of io_uring beyond its completion queue",
        ),
    ];
    let missing = probes.not_loaded().iter();
    missing.filter_map(|missing| {
        let (_, what) = PROGRAMS.iter().find(|(program, _)| *program == missing.program)?;
        Some(NotCovered {
            operation: format!("{what} ({})", missing.reason),
            ..NotCovered::default()
        })
    })
}

fn not_covered() -> impl Iterator<Item = NotCovered> {
    let events = NOT_COVERED.into_iter().map(str::to_owned);
    events.chain(syscalls::not_covered()).map(|operation| NotCovered {
        operation,
        ..NotCovered::default()
    })
}

/// Returns why the program that observes a fact is not loaded.
pub(super) fn missing_reason(probes: &Probes, fact: &str) -> Option<String> {
    let spec = FACTS.iter().find(|spec| spec.name == fact)?;
    let missing = probes
        .not_loaded()
        .iter()
        .find(|missing| missing.program == spec.program)?;
    Some(missing.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{CacheKey, DISK, Expected, MESSAGES, Observed, PACKETS, Trial, Verdict};
    use crate::layout::offsets::{MissingMember, MissingReason, ProbeGroup};

    fn results(verdict: Verdict) -> SelftestResults {
        let trial = Trial {
            name: "file → pipe → TCP".to_owned(),
            fact: PACKETS.to_owned(),
            expected: Expected::Moved,
            bytes: 1,
            observed: Observed::default(),
            verdict,
            reason: "so".to_owned(),
        };
        SelftestResults {
            key: CacheKey::default(),
            made_unix_ms: 77,
            took_ms: 1,
            dir: String::new(),
            trials: vec![trial],
        }
    }

    #[test]
    fn fact_has_the_verdict_of_its_trial() {
        let of = |selftest: Option<&SelftestResults>| {
            let coverage = expected_coverage(None, selftest);
            coverage.facts.into_iter().find(|fact| fact.name == PACKETS).unwrap()
        };
        assert_eq!(of(None).status, FactStatus::Untested);
        let yes = of(Some(&results(Verdict::Yes)));
        assert_eq!((yes.status, yes.verified_unix_ms), (FactStatus::Verified, Some(77)));
        for verdict in [Verdict::Silent, Verdict::Wrong] {
            let silent = of(Some(&results(verdict)));
            assert_eq!((silent.status, silent.verified_unix_ms), (FactStatus::Silent, None));
            assert_eq!(silent.missing_reason, "selftest, file → pipe → TCP: so");
        }
        let absent = of(Some(&results(Verdict::Absent)));
        assert_eq!(
            (absent.status, absent.missing_reason.is_empty()),
            (FactStatus::Untested, false)
        );
    }

    #[test]
    fn fact_without_its_members_is_absent_whatever_the_selftest_showed() {
        let offsets = KernelOffsets {
            values: Vec::new(),
            missing: vec![MissingMember {
                group: ProbeGroup::Packets,
                reason: MissingReason::Different {
                    what: "sk_buff.len".to_owned(),
                    expected: 4,
                    found: 8,
                },
            }],
        };
        let coverage = expected_coverage(Some(&offsets), Some(&results(Verdict::Yes)));
        let alive = |name: &str| {
            coverage
                .facts
                .iter()
                .find(|fact| fact.name == name)
                .unwrap()
                .status
                .clone()
        };
        assert_eq!(
            (alive(PACKETS), alive(MESSAGES)),
            (FactStatus::Unavailable, FactStatus::Unavailable)
        );
        assert_eq!(alive(DISK), FactStatus::Untested);
    }
}
