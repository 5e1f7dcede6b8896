//! What could be seen here, and what could not: in every report.

use crate::probe::Probes;
use crate::report::{Alive, Fact, NotObserved, Report, Tier};

/// A fact, the program that sees it, and what is unknown without it.
const FACTS: [(&str, &str, &str); 6] = [
    ("pages in pipe slots", "sys_exit", "nothing that goes through a pipe can be shown"),
    ("pages in packets", "net_dev_start_xmit", "what is sent to TCP sockets stays unknown"),
    ("ends of connections", "inet_sock_set_state", "connections that use the same ports again may stay unknown"),
    ("pages in UNIX messages", "consume_skb", "what is sent to UNIX sockets stays unknown"),
    ("pages to and from disks", "block_bio_queue", "what goes to files with O_DIRECT stays unknown"),
    ("pages of files that become dirty", "writeback_dirty_folio", "some copies into page caches stay unknown"),
];

/// What no raw tracepoint sees.
const BLIND: [&str; 7] = [
    "copies that the program makes in its own memory (memcpy)",
    "files that the program reads and writes as memory (mmap)",
    "splice, tee and sends through io_uring",
    "what the kernel's own threads do (nfsd, ksmbd, kTLS workers, loop devices)",
    "pages that reached this host over a network card: how the driver received them",
    "what a network device does below the one that was given the packet (bridges, tunnels, encryption)",
    "what a disk's driver does below the block layer (dm-crypt, loop, bounce buffers)",
];

/// Writes the facts and the blind spots into a report.
pub(super) fn fill(report: &mut Report, probes: &Probes) {
    let attached = probes.programs();
    for (name, program, without) in FACTS {
        let is_attached = attached.iter().any(|have| have.attached && have.name == program);
        let why = probes.not_loaded().iter().find(|missing| missing.program == program);
        report.coverage.facts.push(Fact {
            name: name.to_owned(),
            seen_by: program.to_owned(),
            tier: Tier::T0,
            alive: if is_attached { Alive::Untested } else { Alive::Absent },
            proven_unix_ms: None,
            why_not: why.map_or(String::new(), |missing| format!("{}: {without}", missing.why)),
            mend: String::new(),
        });
    }
    for what in BLIND {
        report.coverage.not_observed.push(NotObserved {
            what: what.to_owned(),
            calls: None,
            bytes: None,
        });
    }
}
