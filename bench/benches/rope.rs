//! The rope: building, cutting and iterating lists, compared with `Vec<Bytes>` and `BytesMut`.
//!
//! Figures are per piece, as criterion's throughput. Ceph's bufferlist takes 69 ns to create and
//! append a 64-byte piece on a similar machine. The time includes dropping the result, for every
//! contender.

use bufferlist::{BufferList, Segment};
use bytes::{BufMut, Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

const PIECE: [u8; 64] = [7; 64];
const PIECES: usize = 1000;

fn pieces(count: usize) -> Vec<Bytes> {
    (0..count).map(|_| Bytes::copy_from_slice(&PIECE)).collect()
}

fn list(count: usize) -> BufferList {
    pieces(count).into_iter().map(Segment::from).collect()
}

/// Creates and appends a thousand pieces of 64 bytes.
fn create_and_append(c: &mut Criterion) {
    let mut group = c.benchmark_group("create and append 64 bytes");
    group.throughput(Throughput::Elements(PIECES as u64));
    group.bench_function("bufferlist, one allocation each", |b| {
        b.iter(|| {
            let mut list = BufferList::new();
            for _ in 0..PIECES {
                list.push(black_box(PIECE).to_vec());
            }
            list
        });
    });
    group.bench_function("bufferlist, shared room", |b| {
        b.iter(|| {
            let mut list = BufferList::new();
            for _ in 0..PIECES {
                list.extend_from_slice(black_box(&PIECE));
            }
            list
        });
    });
    group.bench_function("Vec<Bytes>, one allocation each", |b| {
        b.iter(|| {
            let mut list = Vec::new();
            for _ in 0..PIECES {
                list.push(Bytes::from(black_box(PIECE).to_vec()));
            }
            list
        });
    });
    group.bench_function("BytesMut", |b| {
        b.iter(|| {
            let mut list = BytesMut::new();
            for _ in 0..PIECES {
                list.put_slice(black_box(&PIECE));
            }
            list
        });
    });
    group.finish();
}

/// Appends lists of four pieces to one list.
fn append_lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("append 4 pieces");
    group.throughput(Throughput::Elements(250));
    group.bench_function("bufferlist", |b| {
        b.iter_batched(
            || (0..250).map(|_| list(4)).collect::<Vec<_>>(),
            |mut lists| {
                let mut all = BufferList::new();
                for list in &mut lists {
                    all.append(list);
                }
                (all, lists)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("Vec<Bytes>", |b| {
        b.iter_batched(
            || (0..250).map(|_| pieces(4)).collect::<Vec<_>>(),
            |mut lists| {
                let mut all = Vec::new();
                for list in &mut lists {
                    all.append(list);
                }
                (all, lists)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Clones a list of a thousand pieces, and cuts out a range that begins and ends within a piece.
fn clone_and_cut(c: &mut Criterion) {
    let mut group = c.benchmark_group("clone 1000 pieces");
    group.throughput(Throughput::Elements(PIECES as u64));
    let (ours, theirs) = (list(PIECES), pieces(PIECES));
    group.bench_function("bufferlist", |b| b.iter(|| black_box(&ours).clone()));
    group.bench_function("Vec<Bytes>", |b| b.iter(|| black_box(&theirs).clone()));
    group.finish();

    let mut group = c.benchmark_group("cut");
    group.bench_function("bufferlist, slice of 8 pieces of 1000", |b| {
        b.iter(|| black_box(&ours).slice(32_010..32_522));
    });
    group.bench_function("Bytes, slice", |b| {
        let whole = Bytes::from(vec![7; 64 * PIECES]);
        b.iter(|| black_box(&whole).slice(32_010..32_522));
    });
    group.bench_function("bufferlist, split_to of a header of 10 bytes", |b| {
        b.iter_batched_ref(|| list(8), |list| list.split_to(10), BatchSize::SmallInput);
    });
    group.bench_function("BytesMut, split_to of a header of 10 bytes", |b| {
        b.iter_batched_ref(
            || BytesMut::from(&[7; 512][..]),
            |bytes| bytes.split_to(10),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Drops a thousand pieces from the front, half a piece at a time.
fn advance(c: &mut Criterion) {
    let mut group = c.benchmark_group("advance through 1000 pieces");
    group.throughput(Throughput::Elements(PIECES as u64));
    group.bench_function("bufferlist", |b| {
        b.iter_batched_ref(
            || list(PIECES),
            |list| {
                while !list.is_empty() {
                    list.advance(32);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("VecDeque<Bytes>", |b| {
        b.iter_batched_ref(
            || pieces(PIECES).into_iter().collect::<std::collections::VecDeque<_>>(),
            |pieces| {
                while let Some(first) = pieces.front_mut() {
                    bytes::Buf::advance(first, 32);
                    if first.is_empty() {
                        pieces.pop_front();
                    }
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Prepends a header of 16 bytes to a body.
fn prepend(c: &mut Criterion) {
    let mut group = c.benchmark_group("prepend 16 bytes");
    group.bench_function("bufferlist, headroom", |b| {
        b.iter_batched_ref(
            || {
                let mut list = BufferList::with_headroom(64);
                list.push("body");
                list
            },
            |list| list.prepend(black_box(&PIECE[..16])),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("bufferlist, no headroom", |b| {
        b.iter_batched_ref(
            || BufferList::from("body"),
            |list| list.prepend(black_box(&PIECE[..16])),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("Vec<Bytes>, insert at 0", |b| {
        b.iter_batched_ref(
            || {
                let mut list = Vec::with_capacity(4);
                list.push(Bytes::from_static(b"body"));
                list
            },
            |list| list.insert(0, Bytes::copy_from_slice(black_box(&PIECE[..16]))),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Reads sixteen bytes at positions in a list of ten thousand pieces.
fn random_peek(c: &mut Criterion) {
    const MANY: usize = 10_000;
    let mut group = c.benchmark_group("peek at 16 bytes of 10000 pieces");
    let (ours, theirs) = (list(MANY), pieces(MANY));
    // Deterministic and not in order.
    let mut at = 0_u64;
    let mut next = move || {
        at = (at + 7_919 * 64) % (64 * MANY as u64 - 64);
        at
    };
    let mut same = next;
    group.bench_function("bufferlist", |b| {
        b.iter(|| {
            let at = next();
            ours.peek(at..at + 16).expect("memory")
        });
    });
    group.bench_function("Vec<Bytes>, summing up lengths", |b| {
        b.iter(|| {
            let mut left = same() as usize;
            let found = theirs.iter().find(|piece| {
                if left < piece.len() {
                    return true;
                }
                left -= piece.len();
                false
            });
            found.map(|piece| piece.slice(left..piece.len().min(left + 16)))
        });
    });
    group.finish();
}

/// Computes a checksum of memory, and finds the cached one.
fn crc(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc32c");
    for size in [4 << 10, 64 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(size as u64));
        let memory = Bytes::from(vec![7; size]);
        group.bench_with_input(BenchmarkId::new("not cached", size), &memory, |b, memory| {
            // A new segment has a new ID, so its checksum is not cached.
            b.iter(|| BufferList::from(memory.clone()).crc32c().expect("memory"));
        });
        let list = BufferList::from(memory);
        group.bench_with_input(BenchmarkId::new("cached", size), &list, |b, list| {
            b.iter(|| list.crc32c().expect("memory"));
        });
    }
    group.finish();
}

criterion_group! {
    name = rope;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = create_and_append, append_lists, clone_and_cut, advance, prepend, random_peek, crc
}
criterion_main!(rope);
