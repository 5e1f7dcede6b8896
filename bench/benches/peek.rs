//! Peeking at pages in a pipe by the three strategies. Each run peeks at a new list, because a
//! second peek at the same range is free.

use bufferlist::{BufferList, PeekStrategy, Source, Step};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

fn file(bytes: usize) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; bytes]).expect("the file is written");
    file
}

/// Returns a list of the file's pages, in one pipe.
fn list(file: &File, bytes: u64) -> BufferList {
    let source = Source::file(file, ..).expect("a file");
    let mut source = source.with_provenance().expect("a descriptor");
    let mut list = BufferList::new();
    while list.len() < bytes {
        let left = bytes - list.len();
        let Ok(Step::Moved(_)) = list.splice_from(&mut source, left) else {
            panic!("the file has {bytes} bytes");
        };
    }
    list
}

/// Touches every cache line, so that a mapping pays for its page faults.
fn touch<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> u64 {
    chunks
        .flat_map(|chunk| chunk.iter().step_by(64))
        .map(|&byte| u64::from(byte))
        .sum()
}

fn peek(c: &mut Criterion) {
    let mut group = c.benchmark_group("peek at pages in a pipe");
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(bytes as u64));
        let file = file(bytes);
        let fresh = || list(&file, bytes as u64);
        group.bench_function(BenchmarkId::new("peek", bytes), |b| {
            b.iter_batched_ref(
                fresh,
                |list| touch(list.peek(..).expect("pages").chunks()),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("memfd", bytes), |b| {
            b.iter_batched_ref(
                fresh,
                |list| touch(list.peek_with(PeekStrategy::Memfd, ..).expect("pages").chunks()),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("mapped", bytes), |b| {
            b.iter_batched_ref(
                fresh,
                |list| {
                    // SAFETY: the file is temporary and private to this bench, which does not write
                    // to it again.
                    let view = unsafe { list.peek_mapped(..) };
                    touch(view.expect("pages").chunks())
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("pread of the file", bytes), |b| {
            b.iter(|| {
                let mut buffer = Vec::with_capacity(bytes);
                let got = rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut buffer), 0);
                assert_eq!(got, Ok(bytes));
                touch([&buffer[..]].into_iter())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = peeks;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = peek
}
criterion_main!(peeks);
