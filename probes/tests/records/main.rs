//! The probes on this kernel: real calls of this process, and their records.
//!
//! A single test, because all threads of a process are traced together: each would see the others'
//! records.

mod fixtures;
mod observer;
mod pipes;
mod sockets;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use zctrace_probes::probe::{Hooks, LoadOptions, Probes, Record, ScopeFilter};
use zctrace_records::{endpoint_kind, nr, process_event_kind};

use crate::fixtures::Folder;
use crate::observer::{Observer, assert_unloaded, programs_of};

/// Name under which skips are reported.
const TEST: &str = "records";
/// Set in the child that is killed while its probes are attached.
const KILLED_CHILD: &str = "ZCTRACE_TEST_KILLED_CHILD";
const PAGE: usize = 4096;

#[test]
fn records_describe_the_calls() {
    if std::env::var_os(KILLED_CHILD).is_some() {
        return;
    }
    let mut observer = match Observer::start() {
        Ok(observer) => observer,
        Err(reason) => return test_support::skip!(TEST, "{reason}"),
    };
    let folder = Folder::new();
    let source = folder.file("source", 64 * PAGE);
    pipes::file_to_pipe(&mut observer, &source);
    sockets::pipe_to_tcp_to_pipe(&mut observer, &source);
    sockets::sendfile_to_tcp(&mut observer, &source);
    pipes::pipe_to_file(&mut observer, &folder, &source);
    pipes::memory_to_pipe(&mut observer);
    pipes::tee_shares_pages(&mut observer, &source);
    sockets::unix_both_ways(&mut observer, &source);
    pipes::a_large_ring(&mut observer, &folder);
    pipes::write_and_read_a_pipe(&mut observer);
    pipes::nothing_moved(&mut observer);
    plain_calls_are_counted(&mut observer, &source);
    pipes::a_pipe_is_resized(&mut observer);
    children_are_followed(&mut observer);
    for loss in observer.probes.loss() {
        assert!(!loss.any(), "{loss:?}");
    }
    assert!(
        observer.probes.not_loaded().is_empty(),
        "{:?}",
        observer.probes.not_loaded()
    );
    let programs = programs_of(std::process::id());
    assert!(programs.len() >= observer.probes.programs().len());
    drop(observer);
    assert_unloaded(&programs);
    assert!(programs_of(std::process::id()).is_empty());
}

/// A killed process leaves nothing attached.
#[test]
fn killed_tracer_leaves_nothing_attached() {
    if std::env::var_os(KILLED_CHILD).is_some() {
        let observer = Observer::start();
        println!("{}", if observer.is_ok() { "attached" } else { "refused" });
        // Until it is killed.
        std::thread::sleep(std::time::Duration::from_secs(600));
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_tracer_leaves_nothing_attached", "--nocapture"])
        .env(KILLED_CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = String::new();
    let mut out = victim.stdout.take().unwrap();
    while !printed.contains("attached\n") && !printed.contains("refused\n") {
        let mut byte = [0; 64];
        let count = out.read(&mut byte).unwrap();
        assert!(count > 0, "the child ended: {printed}");
        printed.push_str(&String::from_utf8_lossy(&byte[..count]));
    }
    let programs = programs_of(victim.id());
    victim.kill().unwrap();
    victim.wait().unwrap();
    if printed.contains("refused\n") {
        return test_support::skip!("killed_tracer_leaves_nothing_attached", "probes cannot be loaded here");
    }
    assert!(!programs.is_empty());
    assert_unloaded(&programs);
}

/// The other two scopes include this process without an announcement.
#[test]
fn a_cgroup_and_the_machine_can_be_traced() {
    if std::env::var_os(KILLED_CHILD).is_some() {
        return;
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    let own = ScopeFilter::cgroup(Path::new("/sys/fs/cgroup").join(own));
    if own.is_err() {
        test_support::skip!(TEST, "cgroup: no hierarchy of version 2 is mounted at /sys/fs/cgroup");
    }
    for scope in own.into_iter().chain([ScopeFilter::Machine]) {
        let setup = LoadOptions {
            scope,
            hooks: Hooks {
                packets: false,
                unix: false,
                bios: false,
                ..Hooks::default()
            },
            ..LoadOptions::default()
        };
        let mut probes = match Probes::load(&setup) {
            Ok(probes) => probes,
            Err(error) => return test_support::skip!(TEST, "{error}"),
        };
        // A trace of the whole machine excludes the tracer itself.
        let mut child = Command::new("/bin/sh");
        child.args(["-c", "echo scope-of-a-test | cat"]).stdout(Stdio::null());
        assert!(child.status().unwrap().success());
        let mut sizes = Vec::new();
        probes.drain(&mut |bytes| {
            if let Record::Call(call) = Record::from_bytes(bytes).unwrap()
                && call.sink.kind == endpoint_kind::PIPE
            {
                sizes.push(call.result);
            }
        });
        assert!(sizes.contains(&16), "{scope:?}: {sizes:?}");
    }
}

fn plain_calls_are_counted(observer: &mut Observer, source: &Path) {
    let mut file = File::open(source).unwrap();
    let ino = file.metadata().unwrap().ino();
    let mut buffer = vec![0; 10_000];
    let ((), observed) = observer.observe(|| {
        file.read_exact(&mut buffer).unwrap();
        file.read_exact(&mut buffer[..100]).unwrap();
        file.read_exact_at(&mut buffer[..3000], 0).unwrap();
    });
    assert!(observed.calls.is_empty() && observed.stations.is_empty());
    let plain = observer.probes.io_counters();
    let of = |nr: u32| {
        plain
            .iter()
            .find(|(key, _)| key.ino == ino && key.nr == nr)
            .expect("counted")
            .1
    };
    let read = of(nr::READ);
    assert_eq!(
        (read.calls, read.bytes, read.small_calls, read.small_bytes),
        (2, 10_100, 1, 100)
    );
    assert_eq!(of(nr::PREAD64).bytes, 3000);
    assert!(read.first_ns <= read.last_ns && read.user_ip != 0);
}

fn children_are_followed(observer: &mut Observer) {
    let (_, observed) = observer.observe(|| Command::new("/bin/true").status().unwrap());
    let find = |event| {
        observed
            .processes
            .iter()
            .find(|process| process.event == event)
            .copied()
    };
    let child = find(process_event_kind::FORK).expect("a fork is seen").child;
    let exec = find(process_event_kind::EXEC).expect("its exec, too");
    assert_eq!((exec.header.tgid, &exec.comm[..5]), (child, &b"true\0"[..]));
    assert_eq!(find(process_event_kind::EXIT).expect("and its end").header.tgid, child);
}
