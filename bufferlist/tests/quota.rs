//! Scarce resources: pipe pages of an unprivileged user, and open files. The library then copies
//! and reports it. It never fails, never hangs, and does not spend on pipes the descriptors that
//! the program needs for its files.
//!
//! Each test has a process of its own, and each unprivileged user is distinct, because quotas are
//! counted per user.

mod common;

use bufferlist::{BufferList, Limits, Pool, Reason, Sink, Source, Step, Transfer};
use common::{
    Child, assert_same, contents, file_with, nonblocking_pipe, open_files, page, pattern, reader, set_nonblocking,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// User IDs that no other process uses, unlike `nobody`: the whole quota is available.
const USERS: u32 = 64_170;

/// Runs a test as an unprivileged user, if this process can become one.
fn as_user(user: u32, test: &str, body: impl FnOnce()) {
    let is_child = std::env::var_os("BUFFERLIST_TEST_CHILD").is_some();
    if !is_child && !rustix::process::geteuid().is_root() {
        return test_support::skip!(test, "needs root, to become another user");
    }
    if soft_quota() == 0 {
        return test_support::skip!(test, "this system has no quota of pipe pages (pipe-user-pages-soft)");
    }
    // No other process may use this user's pages meanwhile, such as another run of this test.
    let lock = (!is_child).then(|| {
        let path = std::env::temp_dir().join(format!("bufferlist-quota-{user}.lock"));
        let file = File::options().create(true).append(true).open(path).expect("lock file");
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("flock");
        file
    });
    Child::user(user).run(test, body);
    drop(lock);
}

/// Returns `pipe-user-pages-soft`, in pages.
fn soft_quota() -> usize {
    let text = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").expect("pipe-user-pages-soft");
    text.trim().parse().expect("a number")
}

/// Pipes that take the user's whole quota except `left` pages, or a few more.
fn use_up(left: usize) -> Vec<(OwnedFd, OwnedFd)> {
    // The remainder is reserved first and released at the end, so that the size of the quota need
    // not be known.
    let reserve = (left > 0).then(|| {
        let pipe = nonblocking_pipe();
        assert_eq!(fcntl_setpipe_size(&pipe.1, left * page()), Ok(left * page()));
        pipe
    });
    let mut hoard = Vec::new();
    // A mebibyte at a time, then less: ring sizes are powers of two pages.
    let mut pages = 256;
    loop {
        let pipe = nonblocking_pipe();
        while fcntl_setpipe_size(&pipe.1, pages * page()).is_err() {
            pages /= 2;
        }
        // A new pipe has two slots even over the quota, and counts.
        if pages <= 2 {
            break;
        }
        hoard.push(pipe);
        assert!(hoard.len() < 10_000, "there is no quota");
    }
    drop(reserve);
    hoard
}

/// Returns the size of a new pipe, in pages.
fn new_pipe() -> usize {
    fcntl_getpipe_size(nonblocking_pipe().1).expect("F_GETPIPE_SZ") / page()
}

/// Transfers a whole file to a UNIX socket.
fn send(file: &File, pool: &Pool, limits: Limits) -> (Vec<u8>, bufferlist::Counts) {
    let (near, far) = common::unix_pair();
    let far = reader(far);
    let source = Source::file(file, ..).expect("source");
    let mut job = Transfer::new(source, Sink::stream(near).expect("sink"))
        .pool(pool)
        .limits(limits);
    job.run().expect("a transfer never fails for want of pipes");
    let counts = job.counts();
    drop(job);
    (far.join().expect("reader"), counts)
}

/// H13: over the quota, new pipes have two slots and cannot grow.
#[test]
fn transfers_copy_when_pipe_page_quota_is_exhausted() {
    as_user(USERS, "transfers_copy_when_pipe_page_quota_is_exhausted", || {
        let hoard = use_up(0);
        let (_read, write) = &hoard[0];
        assert_eq!(
            fcntl_setpipe_size(write, 512 * page()),
            Err(Errno::PERM),
            "nothing is left to grow with"
        );
        assert_eq!(new_pipe(), 2, "a new pipe has two slots");
        let bytes = pattern(1_000_003, 1);
        let file = file_with(&bytes);
        let pool = Pool::new(1024, 64 << 20);
        let (arrived, counts) = send(&file, &pool, Limits::default());
        assert_same(&arrived, &bytes);
        // Copied once into memory and once out of it.
        assert_eq!(counts.of(Reason::NoPipe), 2 * bytes.len() as u64, "{counts}");
        assert_eq!(counts.copied(), 2 * bytes.len() as u64, "{counts}");
        // File to file.
        let out = file_with(b"");
        let source = Source::file(&file, ..).expect("source").pool(&pool);
        bufferlist::transfer(source, Sink::file(&out, 0).expect("sink")).expect("transfer");
        assert_same(&contents(&out), &bytes);
        // Pipes that are too small to be useful are not kept: the descriptors are for the program.
        let before = open_files();
        for _ in 0..50 {
            send(&file, &pool, Limits::default());
        }
        let stats = pool.stats();
        eprintln!("{stats:?}");
        assert_eq!(open_files(), before, "{stats:?}");
        assert_eq!((stats.in_use, stats.idle), (0, 0), "{stats:?}");
        // The system is not asked again for each chunk (800 of them), only occasionally.
        assert!(stats.created < 50, "{stats:?}");
        // When pages are available again, so are pipes: within as many requests as the pool's
        // backoff.
        drop(hoard);
        let mut copied = 0;
        for _ in 0..10 {
            copied = send(&file, &pool, Limits::default()).1.copied();
        }
        assert_eq!(copied, 0, "{:?}", pool.stats());
    });
}

/// 64 KiB of quota are one pipe of the usual size: one transfer works with it, in a ring that
/// cannot grow, and a concurrent one copies.
#[test]
fn one_transfer_splices_with_64_kib_of_quota() {
    as_user(USERS + 1, "one_transfer_splices_with_64_kib_of_quota", || {
        let _hoard = use_up(16);
        assert_eq!(new_pipe(), 16, "one is left");
        let bytes = pattern(1_000_003, 2);
        let file = file_with(&bytes);
        let pool = Pool::new(1024, 64 << 20);
        for chunk in [1 << 16, 1 << 20, 100_001] {
            let limits = Limits::default().chunk(chunk);
            let (arrived, counts) = send(&file, &pool, limits);
            assert_same(&arrived, &bytes);
            counts.assert_no_copies();
        }
        let stats = pool.stats();
        assert_eq!((stats.created, stats.in_use, stats.idle), (1, 0, 1), "{stats:?}");
        // While one list holds the only pipe, the others copy.
        let mut holder = BufferList::new();
        let mut source = Source::file(&file, ..).expect("source").pool(&pool);
        assert!(matches!(holder.splice_from(&mut source, 65_536), Ok(Step::Moved(_))));
        let (arrived, counts) = send(&file, &pool, Limits::default());
        assert_same(&arrived, &bytes);
        assert_eq!(counts.of(Reason::NoPipe), 2 * bytes.len() as u64, "{counts}");
        // A clone cannot be tee'd without a second pipe: the cell is read into memory once, for all
        // sharers.
        let clone = holder.clone();
        let out = file_with(b"");
        common::send_all(&mut clone.clone(), &mut Sink::file(&out, 0).expect("sink").pool(&pool));
        assert_same(&contents(&out), &bytes[..65_536]);
        assert_same(&holder.to_bytes().expect("peek"), &bytes[..65_536]);
        assert_same(&clone.to_bytes().expect("peek"), &bytes[..65_536]);
        // Copied once into memory and once out of it.
        assert_eq!(holder.counts().of(Reason::NoPipe), 2 * 65_536, "{}", holder.counts());
    });
}

/// Fills the gaps among the open descriptors and raises the limit by `left`.
fn limit_files(left: u64) -> Vec<File> {
    let mut fillers = Vec::new();
    loop {
        let file = File::open("/dev/null").expect("open");
        let next = std::os::fd::AsRawFd::as_raw_fd(&file) as u64;
        let highest = std::fs::read_dir("/proc/self/fd")
            .expect("/proc/self/fd")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok())
            .filter(|&fd| fd != next)
            .max();
        fillers.push(file);
        // The directory that was listed used a number directly behind the others, or in a gap.
        if highest.is_none_or(|highest| highest <= next + 1) {
            let limit = Rlimit {
                current: Some(next + 1 + left),
                maximum: getrlimit(Resource::Nofile).maximum,
            };
            setrlimit(Resource::Nofile, limit).expect("RLIMIT_NOFILE");
            return fillers;
        }
    }
}

/// Returns how many more files can be opened now.
fn files_left() -> usize {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.len()
}

/// Eight open files are four pipes. Ninety workers share them, each with bytes in flight at the
/// same moment, and a thousand more transfers queue.
#[test]
fn ninety_concurrent_transfers_with_eight_spare_descriptors() {
    run_ninety_transfers("ninety_concurrent_transfers_with_eight_spare_descriptors", || {
        Pool::new(1024, 64 << 20)
    });
}

/// The process's own pool, whose bound is derived from the limit.
#[test]
fn ninety_concurrent_transfers_from_the_default_pool() {
    run_ninety_transfers("ninety_concurrent_transfers_from_the_default_pool", Pool::default);
}

fn run_ninety_transfers(test: &str, pool: impl FnOnce() -> Pool) {
    const WORKERS: usize = 90;
    const QUEUED: usize = 1000;
    const LEN: usize = 40_000;

    /// Endpoints that a worker holds open.
    struct Ends {
        near: OwnedFd,
        far: OwnedFd,
        out: File,
    }

    Child::new().run(test, || {
        let bytes = pattern(LEN * 8, 3);
        let file = file_with(&bytes);
        let mut ends: Vec<Ends> = (0..WORKERS)
            .map(|_| {
                let (near, far) = common::stream_pair("UNIX");
                Ends {
                    near: set_nonblocking(near),
                    far: set_nonblocking(far),
                    out: file_with(b""),
                }
            })
            .collect();
        // It keeps a file open for the life of the process, and would be created with the first
        // pipe.
        bufferlist::journal::init();
        let _fillers = limit_files(8);
        assert_eq!(files_left(), 8);
        let pool = pool();
        let barrier = Barrier::new(WORKERS);
        let next = AtomicUsize::new(WORKERS);
        let (spliced, copied) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for (first, ends) in ends.iter_mut().enumerate() {
                let (bytes, file, pool, barrier, next) = (&bytes, &file, &pool, &barrier, &next);
                let (spliced, copied) = (&spliced, &copied);
                scope.spawn(move || {
                    let mut number = first;
                    while number < WORKERS + QUEUED {
                        let start = number % 7 * LEN + number % 5;
                        let range = start as u64..(start + LEN) as u64;
                        let expected = &bytes[start..start + LEN];
                        let source = || Source::file(file, range.clone()).expect("source");
                        let counts = if number % 2 == 0 {
                            let sink = Sink::stream(&ends.near).expect("sink");
                            let mut job = Transfer::new(source(), sink).pool(pool);
                            if number < WORKERS {
                                // The peers do not read until every transfer has bytes in flight.
                                while !matches!(job.step().expect("step"), Step::Blocked(_) | Step::End) {}
                                barrier.wait();
                            }
                            job.run().expect("a transfer never fails for want of files");
                            assert_same(&common::read_available(&ends.far), expected);
                            job.counts()
                        } else {
                            ends.out.set_len(0).expect("truncate");
                            let sink = Sink::file(&ends.out, 0).expect("sink");
                            let mut job = Transfer::new(source(), sink).pool(pool);
                            if number < WORKERS {
                                barrier.wait();
                            }
                            job.run().expect("a transfer never fails for want of files");
                            assert_same(&contents(&ends.out), expected);
                            job.counts()
                        };
                        assert_eq!(counts.of(Reason::NoPipe), counts.copied(), "{counts}");
                        // Each copied byte was copied in and out.
                        copied.fetch_add(counts.copied() / 2, Ordering::Relaxed);
                        spliced.fetch_add(LEN as u64 - counts.copied() / 2, Ordering::Relaxed);
                        number = next.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let (spliced, copied) = (spliced.into_inner(), copied.into_inner());
        let stats = pool.stats();
        eprintln!("{spliced} bytes spliced, {copied} copied for want of pipes, {stats:?}");
        assert_eq!(spliced + copied, ((WORKERS + QUEUED) * LEN) as u64);
        assert!(copied > 0, "ninety at once cannot all have had a pipe");
        assert!(spliced > 0, "four pipes were to be had");
        assert_eq!((stats.in_use, stats.mismatched), (0, 0), "{stats:?}");
        assert!(stats.idle <= 4, "{stats:?}");
        pool.clear();
        assert_eq!(files_left(), 8, "nothing is kept");
    });
}

/// With no descriptor left, not even `/dev/null` can be opened.
#[test]
fn everything_works_without_spare_file_descriptors() {
    Child::new().run("everything_works_without_spare_file_descriptors", || {
        let bytes = pattern(300_000, 4);
        let file = file_with(&bytes);
        let out = file_with(b"");
        let (near, far) = common::unix_pair();
        let (near, far) = (set_nonblocking(near), set_nonblocking(far));
        let _fillers = limit_files(0);
        assert_eq!(files_left(), 0);
        let pool = Pool::new(8, 8 << 20);
        // Read from a file in pieces, cloned, peeked at, and sent.
        let mut source = Source::file(&file, ..).expect("source").pool(&pool);
        let list = common::fill_all(&mut source, 65_536);
        assert_eq!(list.counts().of(Reason::NoPipe), bytes.len() as u64);
        common::send_all(&mut list.clone(), &mut Sink::file(&out, 0).expect("sink").pool(&pool));
        assert_same(&contents(&out), &bytes);
        let mut part = list.slice(100_000..150_000);
        common::send_all(&mut part, &mut Sink::stream(&near).expect("sink").pool(&pool));
        let mut back = Source::stream(&far).expect("source").pool(&pool);
        let mut arrived = BufferList::new();
        while let Step::Moved(_) = arrived.splice_from(&mut back, 65_536).expect("step") {}
        assert_same(&arrived.to_bytes().expect("peek"), &bytes[100_000..150_000]);
        assert_eq!(pool.stats().created, 0);
    });
}

/// Test of a pool that waits for returned pipes. If the system refuses the first pipe, none is ever
/// returned, so the transfer must copy instead of hanging.
#[test]
fn waiting_pool_does_not_block_when_no_pipe_is_in_use() {
    Child::new().run("waiting_pool_does_not_block_when_no_pipe_is_in_use", || {
        let bytes = pattern(300_000, 5);
        let file = file_with(&bytes);
        let out = file_with(b"");
        let twin = out.try_clone().expect("dup");
        let pool = Pool::new(8, 8 << 20).wait_when_empty();
        let job = |out: File| {
            let source = Source::file(&file, ..).expect("source");
            let mut job = Transfer::new(source, Sink::file(out, 0).expect("sink")).pool(&pool);
            assert_eq!(job.run().expect("run").total(), bytes.len() as u64);
            job.counts()
        };
        let limit = getrlimit(Resource::Nofile);
        let fillers = limit_files(0);
        assert_eq!(files_left(), 0);
        let counts = job(twin);
        assert_eq!(counts.of(Reason::NoPipe), 2 * bytes.len() as u64, "{counts}");
        assert_same(&contents(&out), &bytes);
        // With descriptors available again there are pipes, as soon as the pool tries again. The
        // number of filler files is no measure: it depends on the gaps among the descriptors that
        // this process inherited.
        drop(fillers);
        setrlimit(Resource::Nofile, limit).expect("RLIMIT_NOFILE");
        (0..20).for_each(|_| drop(job(out.try_clone().expect("dup"))));
        job(out.try_clone().expect("dup")).assert_no_copies();
        assert_same(&contents(&out), &bytes);
    });
}
