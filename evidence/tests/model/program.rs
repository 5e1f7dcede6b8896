//! Random programs for the model kernel.

use proptest::prelude::*;

use super::model_kernel::pipe_lives::FIFO;
use super::model_kernel::retransmissions::Way;
use super::model_kernel::{Done, ModelKernel};

/// Next operation of a random program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    FileToPipe {
        file: usize,
        start: u64,
        len: u64,
        pipe: usize,
        copies: bool,
    },
    Write {
        len: u64,
        pipe: usize,
    },
    PipeToDisk {
        pipe: usize,
        len: u64,
        falls_back: bool,
    },
    PipeToFile {
        pipe: usize,
        len: u64,
    },
    Read {
        pipe: usize,
        len: u64,
    },
    PipeToPipe {
        from: usize,
        to: usize,
        len: u64,
    },
    Tee {
        from: usize,
        to: usize,
        len: u64,
    },
    PipeToTcp {
        pipe: usize,
        connection: usize,
        len: u64,
        mss: u32,
        copies: bool,
        times: u32,
    },
    TcpToPipe {
        connection: usize,
        pipe: usize,
        len: u64,
        copies: bool,
    },
    Resize {
        pipe: usize,
        recorded: bool,
    },
    Snapshot {
        pipe: usize,
        immediately: bool,
    },
    WriteLarger {
        len: u64,
        pipe: usize,
        connection: Option<usize>,
        taken: u64,
    },
    Reconnect {
        connection: usize,
        reuses_sock: bool,
        distance: u32,
    },
    Retransmit {
        connection: usize,
        pick: usize,
        range: (u32, u32),
        way: Way,
        arrives: bool,
    },
    SendUntraced {
        connection: usize,
        len: u64,
        mss: u32,
        file: Option<usize>,
    },
    ReopenFifo {
        recorded: bool,
    },
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let pipe = 0..3_usize;
    let len = prop_oneof![
        1..200_u64,
        4000..4200_u64,
        1..70_000_u64,
        Just(4096_u64),
        Just(65_536_u64)
    ];
    let rarely = prop::bool::weighted(0.15);
    prop_oneof![
        4 => (0..3_usize, 0..100_000_u64, len.clone(), pipe.clone(), rarely)
            .prop_map(|(file, start, len, pipe, copies)| Op::FileToPipe { file, start, len, pipe, copies }),
        2 => (len.clone(), pipe.clone()).prop_map(|(len, pipe)| Op::Write { len, pipe }),
        2 => (pipe.clone(), len.clone(), rarely)
            .prop_map(|(pipe, len, falls_back)| Op::PipeToDisk { pipe, len, falls_back }),
        1 => (pipe.clone(), len.clone()).prop_map(|(pipe, len)| Op::PipeToFile { pipe, len }),
        1 => (pipe.clone(), len.clone()).prop_map(|(pipe, len)| Op::Read { pipe, len }),
        2 => (pipe.clone(), pipe.clone(), len.clone()).prop_map(|(from, to, len)| Op::PipeToPipe { from, to, len }),
        1 => (pipe.clone(), pipe.clone(), len.clone()).prop_map(|(from, to, len)| Op::Tee { from, to, len }),
        3 => (pipe.clone(), 0..3_usize, len.clone(), 500..70_000_u32, rarely, 1..3_u32)
            .prop_map(|(pipe, connection, len, mss, copies, times)| {
                Op::PipeToTcp { pipe, connection, len, mss, copies, times }
            }),
        // The last one is the connection that ended.
        3 => (0..4_usize, pipe.clone(), len.clone(), rarely)
            .prop_map(|(connection, pipe, len, copies)| Op::TcpToPipe { connection, pipe, len, copies }),
        1 => (pipe.clone(), any::<bool>()).prop_map(|(pipe, recorded)| Op::Resize { pipe, recorded }),
        2 => (pipe.clone(), any::<bool>()).prop_map(|(pipe, immediately)| Op::Snapshot { pipe, immediately }),
        1 => (60_000..300_000_u64, pipe, prop::option::of(0..3_usize), 3000..100_000_u64)
            .prop_map(|(len, pipe, connection, taken)| Op::WriteLarger { len, pipe, connection, taken }),
        1 => (0..3_usize, any::<bool>(), 0..10_u32)
            .prop_map(|(connection, reuses_sock, distance)| Op::Reconnect { connection, reuses_sock, distance }),
        2 => (0..3_usize, 0..20_usize, (0..5000_u32, 1..5000_u32), way(), any::<bool>())
            .prop_map(|(connection, pick, range, way, arrives)| Op::Retransmit { connection, pick, range, way, arrives }),
        1 => (0..3_usize, len, 500..70_000_u32, prop::option::of(0..3_usize))
            .prop_map(|(connection, len, mss, file)| Op::SendUntraced { connection, len, mss, file }),
        1 => any::<bool>().prop_map(|recorded| Op::ReopenFifo { recorded }),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::SamePages), Just(Way::OtherPages), Just(Way::Linear)]
}

/// Runs an operation while the calls in `pending` have not returned.
pub(crate) fn run(kernel: &mut ModelKernel, op: Op, pending: &[&Done]) -> Option<Done> {
    match op {
        Op::FileToPipe {
            file,
            start,
            len,
            pipe,
            copies,
        } => kernel.file_to_pipe(file, start, len, pipe, copies),
        Op::Write { len, pipe } => kernel.write(len, pipe),
        Op::PipeToDisk { pipe, len, falls_back } => kernel.pipe_to_disk(pipe, len, falls_back),
        Op::PipeToFile { pipe, len } => kernel.pipe_to_file(pipe, len),
        Op::Read { pipe, len } => kernel.read(pipe, len),
        Op::PipeToPipe { from, to, len } => kernel.pipe_to_pipe(from, to, len),
        Op::Tee { from, to, len } => kernel.tee(from, to, len),
        Op::PipeToTcp {
            pipe,
            connection,
            len,
            mss,
            copies,
            times,
        } => kernel.pipe_to_tcp(pipe, connection, len, mss, copies, times),
        Op::TcpToPipe {
            connection,
            pipe,
            len,
            copies,
        } => kernel.tcp_to_pipe(connection, pipe, len, copies),
        Op::Resize { pipe, recorded } => {
            kernel.resize(pipe, recorded);
            None
        }
        // The truth of bytes that a call in progress takes is decided before the snapshot.
        Op::Snapshot { pipe, .. } if pending.iter().any(|done| done.uses_pipe(pipe)) => None,
        Op::Snapshot { pipe, immediately } => Some(kernel.take_snapshot(pipe, immediately)),
        Op::WriteLarger {
            len,
            pipe,
            connection,
            taken,
        } => {
            // The engine follows a pipe from the first call that finds it empty.
            if let Some(done) = kernel.write(1, pipe) {
                kernel.exit(done);
            }
            kernel.write_with_consumer(len, pipe, |kernel| match connection {
                Some(n) => kernel.pipe_to_tcp(pipe, n, taken, 60_000, false, 1),
                None => kernel.read(pipe, taken),
            })
        }
        other => {
            run_untraced(kernel, other, pending);
            None
        }
    }
}

/// Runs an operation that no traced process makes.
fn run_untraced(kernel: &mut ModelKernel, op: Op, pending: &[&Done]) {
    match op {
        Op::Reconnect {
            connection,
            reuses_sock,
            distance,
        } => kernel.reconnect(connection, reuses_sock, distance, pending),
        Op::Retransmit {
            connection,
            pick,
            range,
            way,
            arrives,
        } => kernel.retransmit(connection, pick, range, way, arrives),
        Op::SendUntraced {
            connection,
            len,
            mss,
            file,
        } => kernel.send_untraced(connection, len, mss, file),
        // A process inside a call has the FIFO open.
        Op::ReopenFifo { recorded } if !pending.iter().any(|done| done.uses_pipe(FIFO)) => kernel.reopen_fifo(recorded),
        _ => {}
    }
}

/// Runs a program whose calls return one after the other.
pub(crate) fn run_in_order(kernel: &mut ModelKernel, ops: impl IntoIterator<Item = Op>) {
    for op in ops {
        if let Some(done) = run(kernel, op, &[]) {
            kernel.exit(done);
        }
    }
}
