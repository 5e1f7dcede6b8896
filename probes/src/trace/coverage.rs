//! What could be seen here, and what could not: in every report.

use crate::layout::plan::{Part, Plan};
use crate::probe::{Hooks, Probes};
use crate::selftest::Table;
use zctrace_report::{Alive, Coverage, Fact, NotObserved, Tier};

/// What is in the slots of pipes.
pub(crate) const SLOTS: &str = "pages in pipe slots";
/// What is in packets of TCP connections.
pub(crate) const PACKETS: &str = "pages in packets";
/// When these end.
pub(crate) const CLOSES: &str = "ends of connections";
/// What is in messages of UNIX sockets.
pub(crate) const MESSAGES: &str = "pages in UNIX messages";
/// What is in requests to disks.
pub(crate) const DISK: &str = "pages to and from disks";
/// What calls put in page caches.
pub(crate) const DIRTY: &str = "pages of files that become dirty";

/// What lies in pipes that were there before.
pub(crate) const BEFORE: &str = "pages in pipes from before";
/// What the kernel itself says of sends without copies.
pub(crate) const NOTICES: &str = "notices of sends without copies";
/// The same, of `io_uring`.
pub(crate) const NOTICES_URING: &str = "notices of io_uring's sends";

/// What goes to TCP connections, at the level `digest`.
pub(crate) const SUMS: &str = "sums over pages to TCP connections";

/// A fact, the program that sees it, what of the kernel's types it needs, and what is unknown without it.
pub(crate) const FACTS: [(&str, &str, Part, &str); 10] = [
    (
        SLOTS,
        "sys_exit",
        Part::Calls,
        "nothing that goes through a pipe can be shown",
    ),
    (
        PACKETS,
        "net_dev_start_xmit",
        Part::Packets,
        "what is sent to TCP sockets stays unknown",
    ),
    (
        CLOSES,
        "inet_sock_set_state",
        Part::Packets,
        "connections that use the same ports again may stay unknown",
    ),
    (
        MESSAGES,
        "consume_skb",
        Part::Unix,
        "what is sent to UNIX sockets stays unknown",
    ),
    (
        DISK,
        "block_bio_queue",
        Part::Bios,
        "what goes to files with O_DIRECT stays unknown",
    ),
    (
        DIRTY,
        "writeback_dirty_folio",
        Part::Dirty,
        "some copies into page caches stay unknown",
    ),
    (
        BEFORE,
        "task_file",
        Part::Calls,
        "what was in pipes when watching began stays unknown",
    ),
    (
        NOTICES,
        "consume_skb",
        Part::Told,
        "what the kernel itself says of MSG_ZEROCOPY is not counted",
    ),
    (
        NOTICES_URING,
        "io_uring_complete",
        Part::Told,
        "what the kernel itself says of io_uring's SEND_ZC is not counted",
    ),
    (
        SUMS,
        "sock_send_length",
        Part::Sums,
        "the levels digest and counters cannot be used",
    ),
];

/// What no raw tracepoint sees.
const BLIND: [&str; 8] = [
    "copies that the program makes in its own memory (memcpy)",
    "files that the program reads and writes as memory (mmap)",
    "splice, tee and sends through io_uring",
    "reads and writes of 32-bit programs (their splice, tee, vmsplice and sendfile are counted)",
    "what the kernel's own threads do (nfsd, ksmbd, kTLS workers, loop devices)",
    "pages that reached this host over a network card: how the driver received them",
    "what a network device does below the one that was given the packet (bridges, tunnels, encryption)",
    "what a disk's driver does below the block layer (dm-crypt, loop, bounce buffers)",
];

/// What is asked to be seen.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) hooks: Hooks,
    pub(super) look_around: bool,
}

/// What can be seen by the programs that are attached.
pub(super) fn of(probes: &Probes, asked: Asked, proven: Option<&Table>) -> Coverage {
    let Asked { hooks, look_around } = asked;
    let attached = probes.programs();
    let is_asked = |(name, ..): &(&str, &str, Part, &str)| match *name {
        SUMS => hooks.sums.is_some(),
        BEFORE => look_around && hooks.sums.is_none(),
        _ => hooks.sums.is_none(),
    };
    let of = |(name, program, _, without): (_, _, Part, &str)| {
        let is_attached = attached.iter().any(|have| have.attached && have.name == program);
        let mut fact = fact(name, program, is_attached, lacks(probes, name), proven);
        if fact.alive != Alive::Yes && !fact.why_not.is_empty() {
            fact.why_not = format!("{}: {without}", fact.why_not);
        }
        fact
    };
    Coverage {
        facts: FACTS.into_iter().filter(is_asked).map(of).collect(),
        not_observed: hooks.sums.map(|_| not_asked()).into_iter().chain(blind()).collect(),
    }
}

/// What could be seen, told without attaching anything: from the kernel's types, and from what the selftest showed before.
pub fn foreseen(plan: Option<&Plan>, proven: Option<&Table>) -> Coverage {
    let of = |(name, program, part, without): (_, _, Part, &str)| {
        let missing = plan.and_then(|plan| plan.missing_for(part));
        let missing = missing.map(|missing| format!("{missing}: {without}"));
        fact(name, program, missing.is_none(), missing, proven)
    };
    Coverage {
        facts: FACTS.map(of).into(),
        not_observed: blind().collect(),
    }
}

fn fact(name: &str, program: &str, is_there: bool, missing: Option<String>, proven: Option<&Table>) -> Fact {
    let mut fact = Fact {
        name: name.to_owned(),
        seen_by: program.to_owned(),
        tier: Tier::T0,
        alive: if is_there { Alive::Untested } else { Alive::Absent },
        proven_unix_ms: None,
        why_not: missing.unwrap_or_default(),
        mend: String::new(),
    };
    match proven.map(|table| (table, table.alive(name))) {
        // What was silent is not attached any more.
        Some((_, (Alive::Silent, why))) => {
            (fact.alive, fact.why_not) = (Alive::Silent, why);
            "zctrace selftest".clone_into(&mut fact.mend);
        }
        Some((table, (Alive::Yes, _))) if is_there => {
            (fact.alive, fact.proven_unix_ms) = (Alive::Yes, Some(table.made_unix_ms));
        }
        Some((_, (_, why))) if is_there => {
            fact.why_not = why;
            "zctrace selftest --dir DIR".clone_into(&mut fact.mend);
        }
        None if is_there => "zctrace selftest".clone_into(&mut fact.mend),
        _ => {}
    }
    fact
}

/// What sums do not tell of.
fn not_asked() -> NotObserved {
    NotObserved {
        what: "all that is not sent to a TCP connection: this level watches nothing else, looks included".to_owned(),
        calls: None,
        bytes: None,
    }
}

fn blind() -> impl Iterator<Item = NotObserved> {
    BLIND.into_iter().map(|what| NotObserved {
        what: what.to_owned(),
        calls: None,
        bytes: None,
    })
}

/// Why the program that sees a fact is not there.
pub(super) fn lacks(probes: &Probes, fact: &str) -> Option<String> {
    let (_, program, ..) = FACTS.iter().find(|(name, ..)| *name == fact)?;
    let missing = probes.not_loaded().iter().find(|missing| missing.program == *program)?;
    Some(missing.why.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::plan::{Missing, Why};
    use crate::selftest::{Expected, Key, Seen, Trial, Verdict};

    fn table(verdict: Verdict) -> Table {
        let trial = Trial {
            name: "file → pipe → TCP".to_owned(),
            fact: PACKETS.to_owned(),
            expected: Expected::Moved,
            bytes: 1,
            seen: Seen::default(),
            verdict,
            reason: "so".to_owned(),
        };
        Table {
            key: Key::default(),
            made_unix_ms: 77,
            took_ms: 1,
            dir: String::new(),
            trials: vec![trial],
        }
    }

    #[test]
    fn a_fact_is_what_its_trial_showed() {
        let of = |proven: Option<&Table>| {
            let coverage = foreseen(None, proven);
            coverage.facts.into_iter().find(|fact| fact.name == PACKETS).unwrap()
        };
        assert_eq!(of(None).alive, Alive::Untested);
        let yes = of(Some(&table(Verdict::Yes)));
        assert_eq!((yes.alive, yes.proven_unix_ms), (Alive::Yes, Some(77)));
        for verdict in [Verdict::Silent, Verdict::Wrong] {
            let silent = of(Some(&table(verdict)));
            assert_eq!((silent.alive, silent.proven_unix_ms), (Alive::Silent, None));
            assert_eq!(silent.why_not, "selftest, file → pipe → TCP: so");
        }
        let absent = of(Some(&table(Verdict::Absent)));
        assert_eq!((absent.alive, absent.why_not.is_empty()), (Alive::Untested, false));
    }

    #[test]
    fn what_the_types_lack_is_absent_whatever_was_proven() {
        let plan = Plan {
            values: Vec::new(),
            missing: vec![Missing {
                part: Part::Packets,
                why: Why::Different {
                    what: "sk_buff.len".to_owned(),
                    expected: 4,
                    found: 8,
                },
            }],
        };
        let coverage = foreseen(Some(&plan), Some(&table(Verdict::Yes)));
        let alive = |name: &str| {
            coverage
                .facts
                .iter()
                .find(|fact| fact.name == name)
                .unwrap()
                .alive
                .clone()
        };
        assert_eq!((alive(PACKETS), alive(MESSAGES)), (Alive::Absent, Alive::Absent));
        assert_eq!(alive(DISK), Alive::Untested);
    }
}
