//! The operations, and their random distribution.

use proptest::collection::vec;
use proptest::prelude::*;

/// Number of lists.
pub(crate) const LISTS: usize = 3;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    /// Maximum number of pipes in the pool.
    pub(crate) pipes: usize,
    pub(crate) ops: Vec<Op>,
}

/// A position in a list of any length.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// A fraction of the length, in 65536ths.
    Share(u16),
    /// A distance from a boundary between two segments.
    Border(u8, i8),
}

/// Bytes to add to a list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    Memory(usize),
    Pages { start: usize, len: usize },
    Extent { start: usize, len: usize },
    Zero(usize),
    Hole(usize),
}

/// Destination of a send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Socket,
    File,
    Pipe,
}

/// An operation. Indices of lists come first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Push(usize, Piece),
    PushFront(usize, Piece),
    Extend(usize, usize),
    /// Gives the list headroom.
    Headroom(usize, usize),
    Prepend(usize, usize),
    Append(usize, usize),
    /// The part split off the first list is appended to the second, which may be the same.
    SplitTo(usize, At, usize),
    SplitOff(usize, At, usize),
    /// A part of the first list replaces the second, or is appended to it.
    Slice(usize, At, At, usize, bool),
    Clone(usize, usize, bool),
    Advance(usize, At),
    Truncate(usize, At),
    FromFile {
        list: usize,
        start: usize,
        len: usize,
        piece: usize,
        threshold: bool,
    },
    FromSocket {
        list: usize,
        len: usize,
        written: usize,
        piece: usize,
    },
    Peek(usize, At, At),
    PeekByMemfd(usize, At, At),
    Hexdump(usize, At, At),
    ToBytes(usize),
    /// Of a part, and of ranges of one length in it: a cell caches the checksums of its ranges.
    Crc(usize, At, At),
    Stabilize(usize),
    Rebuild(usize, bool),
    /// Sends the list itself for this many steps.
    Send(usize, To, u8),
    /// Sends all of a clone.
    SendClone(usize, To),
}

/// Number of operations.
pub(crate) const NAMES: usize = 23;

impl Op {
    /// Returns the operation without its arguments.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }
}

fn list() -> impl Strategy<Value = usize> {
    0..LISTS
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![
        any::<u16>().prop_map(At::Share),
        (0..6_u8, -2..=2_i8).prop_map(|(segment, by)| At::Border(segment, by)),
    ]
}

/// Mostly small; around a page; sometimes large.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..200_usize, 2 => 4_090..4_103_usize, 2 => 1..20_000_usize, 1 => 60_000..90_000_usize]
}

/// An offset in the file.
fn start() -> impl Strategy<Value = usize> {
    prop_oneof![0..10_000_usize, (0..10_usize).prop_map(|page| page * 4096)]
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        len().prop_map(Piece::Memory),
        (0..5_000_usize, len()).prop_map(|(start, len)| Piece::Pages { start, len }),
        (start(), len()).prop_map(|(start, len)| Piece::Extent { start, len }),
        len().prop_map(Piece::Zero),
        (1..300_usize).prop_map(Piece::Hole),
    ]
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![Just(To::Socket), Just(To::File), Just(To::Pipe)]
}

/// Building.
fn building() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (list(), piece()).prop_map(|(list, piece)| Op::Push(list, piece)),
        1 => (list(), piece()).prop_map(|(list, piece)| Op::PushFront(list, piece)),
        1 => (list(), len()).prop_map(|(list, len)| Op::Extend(list, len)),
        1 => (list(), 0..64_usize).prop_map(|(list, headroom)| Op::Headroom(list, headroom)),
        1 => (list(), 1..40_usize).prop_map(|(list, len)| Op::Prepend(list, len)),
        3 => (list(), start(), len(), len(), any::<bool>()).prop_map(|(list, start, len, piece, threshold)| {
            Op::FromFile { list, start, len, piece, threshold }
        }),
        2 => (list(), len(), len(), len()).prop_map(|(list, len, written, piece)| {
            Op::FromSocket { list, len, written, piece }
        }),
    ]
}

/// Splitting and joining.
fn cutting() -> impl Strategy<Value = Op> {
    prop_oneof![
        (list(), list()).prop_map(|(list, other)| Op::Append(list, other)),
        (list(), at(), list()).prop_map(|(list, at, to)| Op::SplitTo(list, at, to)),
        (list(), at(), list()).prop_map(|(list, at, to)| Op::SplitOff(list, at, to)),
        (list(), at(), at(), list(), any::<bool>())
            .prop_map(|(list, from, to, other, replace)| Op::Slice(list, from, to, other, replace)),
        (list(), list(), any::<bool>()).prop_map(|(list, other, replace)| Op::Clone(list, other, replace)),
        (list(), at()).prop_map(|(list, at)| Op::Advance(list, at)),
        (list(), at()).prop_map(|(list, at)| Op::Truncate(list, at)),
    ]
}

/// Peeking and sending.
fn using() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (list(), at(), at()).prop_map(|(list, from, to)| Op::Peek(list, from, to)),
        1 => (list(), at(), at()).prop_map(|(list, from, to)| Op::PeekByMemfd(list, from, to)),
        1 => (list(), at(), at()).prop_map(|(list, from, to)| Op::Hexdump(list, from, to)),
        1 => list().prop_map(Op::ToBytes),
        1 => (list(), at(), at()).prop_map(|(list, from, to)| Op::Crc(list, from, to)),
        1 => list().prop_map(Op::Stabilize),
        1 => (list(), any::<bool>()).prop_map(|(list, page)| Op::Rebuild(list, page)),
        3 => (list(), to(), 1..6_u8).prop_map(|(list, to, steps)| Op::Send(list, to, steps)),
        3 => (list(), to()).prop_map(|(list, to)| Op::SendClone(list, to)),
    ]
}

pub(crate) fn sequence() -> impl Strategy<Value = Sequence> {
    let op = prop_oneof![4 => building(), 4 => cutting(), 3 => using()];
    let pipes = prop_oneof![1 => Just(0_usize), 3 => 1..4_usize, 6 => 20..40_usize];
    (pipes, vec(op, 1..=40)).prop_map(|(pipes, ops)| Sequence { pipes, ops })
}
