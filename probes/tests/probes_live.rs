//! The probes on this kernel: real calls of this process, and their records.
//!
//! A single test, because all threads of a process are traced together: each would see the others'
//! records.

mod live;

use std::fs::{File, OpenOptions};
use std::io::{PipeWriter, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use live::{Seen, Watch, assert_gone, bytes, programs_of, runs};
use rustix::pipe::{IoSliceRaw, SpliceFlags, fcntl_setpipe_size, splice, tee, vmsplice};
use zctrace_probes::probe::{Hooks, LoadOptions, Probes, Record, ScopeFilter};
use zctrace_records::{call_flag, endpoint_kind, nr, page_record_flag, process_event_kind, station_kind};

const TEST: &str = "probes_live";
/// Set in the child that is killed while its probes are attached.
const VICTIM: &str = "PROBES_LIVE_VICTIM";
const PAGE: usize = 4096;

#[test]
fn records_say_what_the_calls_did() {
    if std::env::var_os(VICTIM).is_some() {
        return;
    }
    let mut watch = match Watch::start() {
        Ok(watch) => watch,
        Err(reason) => return test_support::skip!(TEST, "{reason}"),
    };
    let folder = Folder::new();
    let source = folder.file("source", 64 * PAGE);
    file_to_pipe(&mut watch, &source);
    pipe_to_tcp_to_pipe(&mut watch, &source);
    sendfile_to_tcp(&mut watch, &source);
    pipe_to_file(&mut watch, &folder, &source);
    memory_to_pipe(&mut watch);
    tee_shares_pages(&mut watch, &source);
    unix_both_ways(&mut watch, &source);
    a_large_ring(&mut watch, &folder);
    write_and_read_a_pipe(&mut watch);
    nothing_moved(&mut watch);
    plain_calls_are_counted(&mut watch, &source);
    a_pipe_is_resized(&mut watch);
    children_are_followed(&mut watch);
    for loss in watch.probes.loss() {
        assert!(!loss.any(), "{loss:?}");
    }
    assert!(watch.probes.not_loaded().is_empty(), "{:?}", watch.probes.not_loaded());
    let programs = programs_of(std::process::id());
    assert!(programs.len() >= watch.probes.programs().len());
    drop(watch);
    assert_gone(&programs);
    assert!(programs_of(std::process::id()).is_empty());
}

/// A killed process leaves nothing attached.
#[test]
fn nothing_is_left_of_a_tracer_that_is_killed() {
    if std::env::var_os(VICTIM).is_some() {
        let watch = Watch::start();
        println!("{}", if watch.is_ok() { "attached" } else { "refused" });
        // Until it is killed.
        std::thread::sleep(std::time::Duration::from_secs(600));
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_of_a_tracer_that_is_killed", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = victim.stdout.take().unwrap();
    while !said.contains("attached\n") && !said.contains("refused\n") {
        let mut byte = [0; 64];
        let count = out.read(&mut byte).unwrap();
        assert!(count > 0, "the child ended: {said}");
        said.push_str(&String::from_utf8_lossy(&byte[..count]));
    }
    let programs = programs_of(victim.id());
    victim.kill().unwrap();
    victim.wait().unwrap();
    if said.contains("refused\n") {
        return test_support::skip!(
            "nothing_is_left_of_a_tracer_that_is_killed",
            "probes cannot be loaded here"
        );
    }
    assert!(!programs.is_empty());
    assert_gone(&programs);
}

/// The other two scopes include this process without an announcement.
#[test]
fn a_cgroup_and_the_machine_can_be_traced() {
    if std::env::var_os(VICTIM).is_some() {
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

fn file_to_pipe(watch: &mut Watch, source: &Path) {
    let file = File::open(source).unwrap();
    let (_reader, writer) = pipe().unwrap();
    let (moved, seen) = watch.of(|| splice_at(&file, 4096, &writer, 20_000));
    let call = seen.call(nr::SPLICE);
    assert_eq!((call.result, call.requested), (moved as i64, 20_000));
    assert_eq!(call.flags, call_flag::ENTRY_OBSERVED);
    let at = file.metadata().unwrap();
    let end = &call.source;
    assert_eq!(
        (end.kind, end.ino, end.before, end.after),
        (endpoint_kind::FILE, at.ino(), 4096, 24_096)
    );
    assert_eq!(end.dev >> 20, rustix::fs::major(at.dev()));
    assert_eq!(call.sink.kind, endpoint_kind::PIPE);
    assert_eq!((call.sink.before, call.sink.after), (0, 5 << 32));
    assert_eq!(call.sink.size, 16);
    let pieces = seen.pieces(call, station_kind::PIPE_SINK);
    assert_eq!(bytes(&pieces), 20_000);
    assert_eq!(
        pieces.iter().map(|piece| piece.index).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    let station = &seen.stations[0];
    assert_eq!(station.file.ino, at.ino());
    assert_eq!((station.file.dev, station.file.generation), (end.dev, end.generation));
    assert!(pieces.iter().all(|piece| piece.mapping == end.object && piece.ops != 0));
    // Paths begin at the root of their filesystem.
    let path = watch.path(at.ino());
    assert!(source.to_str().unwrap().ends_with(&path), "{path}");
    assert!(path.starts_with('/') && path.ends_with("/source"), "{path}");
}

fn pipe_to_tcp_to_pipe(watch: &mut Watch, source: &Path) {
    let file = File::open(source).unwrap();
    let (client, server) = tcp();
    let port = client.local_addr().unwrap().port();
    let (first, second) = (pipe().unwrap(), pipe().unwrap());
    let (_, filled) = watch.of(|| splice_at(&file, 0, &first.1, 30_000));
    let put = filled.pieces(filled.call(nr::SPLICE), station_kind::PIPE_SINK);

    // Drained in two steps, the first of which ends within a slot.
    let ((), begun) = watch.of(|| splice_all(&first.0, &client, 10_000));
    let ((), rest) = watch.of(|| splice_all(&first.0, &client, 20_000));
    let call = begun.call(nr::SPLICE);
    assert_eq!((call.sink.kind, call.sink.pair.source_port), (endpoint_kind::TCP, port));
    assert_eq!(call.sink.pair.destination[..4], [127, 0, 0, 1]);
    let start = call.sink.before;
    assert_eq!((call.sink.after as u32).wrapping_sub(start as u32), 10_000);
    let taken = begun.pieces(call, station_kind::PIPE_SOURCE);
    assert_eq!(taken.len(), 3, "two slots emptied, one taken in part");
    for (taken, put) in taken.iter().zip(&put) {
        assert_eq!(taken.page, put.page);
        assert_eq!(taken.offset + taken.len, put.offset + put.len);
    }
    let mut sent = begun.packets(port, start);
    sent.extend(rest.packets(port, rest.call(nr::SPLICE).sink.before));
    assert_eq!(joined(sent), joined(runs(&put)), "the packets hold the file's pages");
    assert!(
        begun
            .stations
            .iter()
            .any(|s| s.flags & page_record_flag::LOOPBACK != 0 && s.station == station_kind::PACKET)
    );

    // And into another pipe.
    let ((), seen) = watch.of(|| splice_all(&server, &second.1, 30_000));
    let mut received = Vec::new();
    for call in &seen.calls {
        assert_eq!(
            call.source.extra,
            begun.call(nr::SPLICE).sink.extra,
            "one life of the connection"
        );
        assert_eq!(
            (call.source.after as u32).wrapping_sub(call.source.before as u32),
            call.result as u32
        );
        received.extend(runs(&seen.pieces(call, station_kind::PIPE_SINK)));
    }
    assert_eq!(joined(received), joined(runs(&put)), "loopback passes pages on");

    let life = begun.call(nr::SPLICE).sink.extra;
    let closed = |seen: &Seen| seen.closed.iter().filter(|closed| closed.connection_id == life).count();
    let ((), seen) = watch.of_until(|| drop((client, server)), |seen| closed(seen) >= 2);
    let ports: Vec<_> = seen
        .closed
        .iter()
        .filter(|closed| closed.connection_id == life)
        .collect();
    assert_eq!(ports.len(), 2, "both sockets end: {:?}", seen.closed);
    assert!(ports.iter().any(|closed| closed.pair.source_port == port));
    assert!(ports.iter().any(|closed| closed.pair.destination_port == port));
}

fn sendfile_to_tcp(watch: &mut Watch, source: &Path) {
    let file = File::open(source).unwrap();
    let (client, mut server) = tcp();
    let ((), seen) = watch.of(|| {
        let mut offset = 8192;
        let count = rustix::fs::sendfile(&client, &file, Some(&mut offset), 12_000).unwrap();
        assert_eq!((count, offset), (12_000, 20_192));
    });
    let call = seen.call(nr::SENDFILE);
    assert_eq!(
        (call.source.kind, call.source.before, call.source.after),
        (endpoint_kind::FILE, 8192, 20_192)
    );
    let sent = seen.packets(client.local_addr().unwrap().port(), call.sink.before);
    assert_eq!(sent.iter().map(|run| u64::from(run.1)).sum::<u64>(), 12_000);
    let packet = seen
        .stations
        .iter()
        .find(|s| s.station == station_kind::PACKET)
        .unwrap();
    assert_eq!(packet.call_id, call.call_id, "sent by the call itself");
    assert_eq!(
        (packet.file.ino, packet.ranges[0].index),
        (file.metadata().unwrap().ino(), 2)
    );
    let mut content = vec![0; 12_000];
    server.read_exact(&mut content).unwrap();
}

fn pipe_to_file(watch: &mut Watch, folder: &Folder, source: &Path) {
    let file = File::open(source).unwrap();
    let (reader, writer) = pipe().unwrap();
    let (_, filled) = watch.of(|| splice_at(&file, 0, &writer, 8 * PAGE));
    let put = filled.pieces(filled.call(nr::SPLICE), station_kind::PIPE_SINK);
    let target = folder.path("buffered");
    let buffered = File::create(&target).unwrap();
    let ((), seen) = watch.of(|| splice_all(&reader, &buffered, 4 * PAGE));
    let call = seen.call(nr::SPLICE);
    if rustix::fs::fstatfs(&buffered).unwrap().f_type == libc::TMPFS_MAGIC {
        return test_support::skip!(
            TEST,
            "the target folder is in memory: no disk, and no page becomes dirty"
        );
    }
    assert!(
        call.dirtied_bytes >= 4 * PAGE as u64,
        "the sink's own pages became dirty: {}",
        call.dirtied_bytes
    );
    assert_eq!((call.sink.before, call.sink.after), (0, 4 * PAGE as u64));

    let direct = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(folder.path("direct"));
    let Ok(direct) = direct else {
        return test_support::skip!(TEST, "O_DIRECT: the filesystem of the target folder does not have it");
    };
    let (moved, seen) = watch.of(|| splice(&reader, None, &direct, None, 4 * PAGE, SpliceFlags::empty()));
    if moved.is_err() {
        return test_support::skip!(TEST, "O_DIRECT: the filesystem of the target folder refuses a splice");
    }
    let call = seen.call(nr::SPLICE);
    assert_eq!(call.sink.f_flags & libc::O_DIRECT as u32, libc::O_DIRECT as u32);
    let written = seen.pieces(call, station_kind::BIO);
    if written.is_empty() {
        return test_support::skip!(
            TEST,
            "O_DIRECT: the filesystem of the target folder queues no bio in the call"
        );
    }
    let bio = seen.stations.iter().find(|s| s.station == station_kind::BIO).unwrap();
    assert_eq!(bio.flags & page_record_flag::WRITE, page_record_flag::WRITE);
    assert_ne!(bio.device, 0);
    let data: Vec<_> = written.into_iter().filter(|piece| piece.mapping != 0).collect();
    assert_eq!(
        joined(runs(&data)),
        joined(runs(&put[4..])),
        "the disk is given the other file's pages"
    );
}

fn memory_to_pipe(watch: &mut Watch) {
    let (reader, writer) = pipe().unwrap();
    let memory = vec![5_u8; 4 * PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let piece = &memory[start..start + 2 * PAGE];
    let (_, seen) = watch.of(|| {
        let slices = [IoSliceRaw::from_slice(piece)];
        // SAFETY: vmsplice requires that the memory stays valid and unchanged while the pipe refers
        // to it. The mapping is never unmapped, and nothing writes to it while its pages are in the
        // pipe.
        unsafe { vmsplice(&writer, &slices, SpliceFlags::empty()) }.unwrap()
    });
    let call = seen.call(nr::VMSPLICE);
    assert_eq!(
        (call.source.kind, call.sink.kind),
        (endpoint_kind::MEMORY, endpoint_kind::PIPE)
    );
    assert_eq!((call.memory, call.requested), (piece.as_ptr() as u64, 2 * PAGE as u64));
    assert_ne!(call.flags & call_flag::CONTIGUOUS, 0);
    let pieces = seen.pieces(call, station_kind::PIPE_SINK);
    assert_eq!(bytes(&pieces), 2 * PAGE as u64);
    assert!(
        pieces.iter().all(|piece| piece.mapping & 1 == 1),
        "pages of anonymous memory: {pieces:x?}"
    );

    // Out of the pipe again: the same system call in the other direction copies.
    let mut back = vec![0_u8; 2 * PAGE];
    let (_, seen) = watch.of(|| {
        let slices = [IoSliceRaw::from_slice_mut(&mut back)];
        // SAFETY: the address and length are those of a mapping that this function created and owns
        // alone.
        unsafe { vmsplice(&reader, &slices, SpliceFlags::empty()) }.unwrap()
    });
    let call = seen.call(nr::VMSPLICE);
    assert_eq!(
        (call.source.kind, call.sink.kind),
        (endpoint_kind::PIPE, endpoint_kind::MEMORY)
    );
    assert_eq!(call.memory, back.as_ptr() as u64);
    assert_eq!(seen.pieces(call, station_kind::PIPE_SOURCE).len(), 2);
}

fn tee_shares_pages(watch: &mut Watch, source: &Path) {
    let file = File::open(source).unwrap();
    let (from, to) = (pipe().unwrap(), pipe().unwrap());
    splice_at(&file, 0, &from.1, 3 * PAGE);
    let (_, seen) = watch.of(|| tee(&from.0, &to.1, 2 * PAGE, SpliceFlags::empty()).unwrap());
    let call = seen.call(nr::TEE);
    let (looked, put) = (
        seen.pieces(call, station_kind::PIPE_SOURCE),
        seen.pieces(call, station_kind::PIPE_SINK),
    );
    assert_eq!(looked.len(), 2);
    assert_eq!(runs(&looked), runs(&put));
    assert_eq!(call.source.before, call.source.after, "tee takes nothing out");
}

fn unix_both_ways(watch: &mut Watch, source: &Path) {
    let file = File::open(source).unwrap();
    let (left, right) = UnixStream::pair().unwrap();
    let (from, to) = (pipe().unwrap(), pipe().unwrap());
    let (_, filled) = watch.of(|| splice_at(&file, 0, &from.1, 12_000));
    let put = filled.pieces(filled.call(nr::SPLICE), station_kind::PIPE_SINK);
    let ((), sent) = watch.of(|| splice_all(&from.0, &left, 12_000));
    assert!(
        sent.calls
            .iter()
            .all(|call| call.sink.kind == endpoint_kind::UNIX_STREAM)
    );
    let sender = sent.calls[0].sink;
    let ((), seen) = watch.of(|| splice_all(&right, &to.1, 12_000));
    assert_eq!(seen.calls[0].source.object, sender.extra, "the sender knows its peer");
    let messages = seen.stations.iter().filter(|s| s.station == station_kind::UNIX);
    let mut message = Vec::new();
    for station in messages.filter(|s| s.object == sender.object) {
        assert_eq!((station.linear, station.flags), (0, 0));
        message.extend(runs(&station.ranges[..usize::from(station.count)]));
    }
    let received = seen
        .calls
        .iter()
        .flat_map(|call| seen.pieces(call, station_kind::PIPE_SINK));
    let received: Vec<_> = received.collect();
    assert_eq!(joined(message), joined(runs(&put)));
    assert_eq!(joined(runs(&received)), joined(runs(&put)));

    // A message that is never read.
    (&left).write_all(&[1; 700]).unwrap();
    let is_dropped = |seen: &Seen| seen.stations.iter().any(|s| s.station == station_kind::UNIX);
    let ((), seen) = watch.of_until(|| drop((left, right)), is_dropped);
    let dropped = seen.stations.iter().find(|s| s.station == station_kind::UNIX);
    let dropped = dropped.expect("a message that is thrown away is seen");
    assert_eq!((dropped.total, dropped.linear), (700, 700));
}

fn a_large_ring(watch: &mut Watch, folder: &Folder) {
    let file = File::open(folder.file("large", 250 * PAGE)).unwrap();
    let (_reader, writer) = pipe().unwrap();
    fcntl_setpipe_size(&writer, 256 * PAGE).unwrap();
    let (moved, seen) = watch.of(|| splice_at(&file, 0, &writer, 250 * PAGE));
    let call = seen.call(nr::SPLICE);
    let pieces = seen.pieces(call, station_kind::PIPE_SINK);
    assert_eq!(
        (bytes(&pieces), call.page_records),
        (moved as u64, pieces.len().div_ceil(16) as u32)
    );
    assert!(pieces.iter().zip(0..).all(|(piece, index)| piece.index == index));
}

fn write_and_read_a_pipe(watch: &mut Watch) {
    let (mut reader, mut writer) = pipe().unwrap();
    let (_, seen) = watch.of(|| {
        writer.write_all(&[1; 100]).unwrap();
        writer
            .write_vectored(&[std::io::IoSlice::new(&[2; 30]), std::io::IoSlice::new(&[3; 40])])
            .unwrap()
    });
    let first = seen.call(nr::WRITE);
    assert_eq!(
        (first.source.kind, first.sink.kind, first.result),
        (endpoint_kind::MEMORY, endpoint_kind::PIPE, 100)
    );
    let second = seen.call(nr::WRITEV);
    assert_eq!((second.requested, second.flags & call_flag::CONTIGUOUS), (70, 0));
    assert_eq!(
        (second.sink.last_before, second.sink.last_after),
        (100, 170),
        "appended to the last slot"
    );
    assert_eq!(second.sink.before, second.sink.after);
    let mut buffer = [0; 170];
    let ((), seen) = watch.of(|| reader.read_exact(&mut buffer).unwrap());
    let call = seen.call(nr::READ);
    assert_eq!((call.source.tail_before, call.source.tail_after), (170, 0));
    assert_eq!(call.memory, buffer.as_ptr() as u64);
}

fn nothing_moved(watch: &mut Watch) {
    let (reader, writer) = pipe().unwrap();
    let other = pipe().unwrap();
    let (moved, seen) = watch.of(|| splice(&reader, None, &other.1, None, 10, SpliceFlags::NONBLOCK));
    assert!(moved.is_err());
    let call = seen.call(nr::SPLICE);
    assert_eq!((call.result, call.page_records), (-i64::from(libc::EAGAIN), 0));
    assert!(seen.stations.is_empty());
    drop(writer);
}

fn plain_calls_are_counted(watch: &mut Watch, source: &Path) {
    let mut file = File::open(source).unwrap();
    let ino = file.metadata().unwrap().ino();
    let mut buffer = vec![0; 10_000];
    let ((), seen) = watch.of(|| {
        file.read_exact(&mut buffer).unwrap();
        file.read_exact(&mut buffer[..100]).unwrap();
        file.read_exact_at(&mut buffer[..3000], 0).unwrap();
    });
    assert!(seen.calls.is_empty() && seen.stations.is_empty());
    let plain = watch.probes.io_counters();
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

fn a_pipe_is_resized(watch: &mut Watch) {
    let (_reader, writer) = pipe().unwrap();
    let ((), seen) = watch.of(|| {
        (&writer).write_all(b"x").unwrap();
        fcntl_setpipe_size(&writer, 64 * PAGE).unwrap();
    });
    let resized = seen
        .processes
        .iter()
        .find(|process| process.event == process_event_kind::PIPE_RESIZED);
    assert_eq!(resized.expect("it is told").detail, seen.call(nr::WRITE).sink.object);
}

fn children_are_followed(watch: &mut Watch) {
    let (_, seen) = watch.of(|| Command::new("/bin/true").status().unwrap());
    let find = |event| seen.processes.iter().find(|process| process.event == event).copied();
    let child = find(process_event_kind::FORK).expect("a fork is seen").child;
    let exec = find(process_event_kind::EXEC).expect("its exec, too");
    assert_eq!((exec.header.tgid, &exec.comm[..5]), (child, &b"true\0"[..]));
    assert_eq!(find(process_event_kind::EXIT).expect("and its end").header.tgid, child);
}

/// A directory of this run's own, on a disk.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{TEST}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates a file of this length without holes.
    fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, vec![0x5a; bytes]).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a connection over loopback.
fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Makes one splice from an offset in a file.
fn splice_at(file: &File, at: u64, to: &PipeWriter, len: usize) -> usize {
    let mut at = at;
    splice(file, Some(&mut at), to, None, len, SpliceFlags::empty()).unwrap()
}

/// Splices until all bytes have been moved.
fn splice_all(from: impl AsFd, to: impl AsFd, len: usize) {
    let mut left = len;
    while left > 0 {
        let moved = splice(&from, None, &to, None, left, SpliceFlags::empty()).unwrap();
        assert!(moved > 0);
        left -= moved;
    }
}

/// Joins adjacent ranges.
fn joined(runs: Vec<live::Run>) -> Vec<live::Run> {
    let mut joined: Vec<live::Run> = Vec::new();
    for (at, len) in runs {
        match joined.last_mut() {
            Some((start, have)) if *start + u64::from(*have) == at => *have += len,
            _ => joined.push((at, len)),
        }
    }
    joined
}
