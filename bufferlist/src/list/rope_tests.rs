//! Tests of the rope against a vector of bytes: random sequences of every operation, over every
//! kind of segment that needs no system call.
//!
//! Small enough for miri, which checks them for undefined behavior. `tests/rope_model` does the
//! same with real pipes, files and sockets.

use super::BufferList;
use crate::pipe::{PipeCell, PipeRange};
use crate::segment::{Body, Hole, Segment};
use bytes::Bytes;

/// Small random number generator (xorshift64*), so that miri has little to interpret.
struct Rng(u64);

impl Rng {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below.max(1)
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.below(256) as u8).collect()
    }
}

/// Unfilled holes, with the bytes that will fill them.
type Holes = Vec<(Hole, Vec<u8>)>;

/// Creates a random segment and returns it with its contents. The bytes of a hole are chosen now
/// and filled in later.
fn segment(rng: &mut Rng, holes: &mut Holes) -> (Segment, Vec<u8>) {
    let bytes = rng.bytes();
    match rng.below(4) {
        0 => (Segment::from(bytes.clone()), bytes),
        1 => (Segment::zero(bytes.len() as u64), vec![0; bytes.len()]),
        2 => {
            let (hole, range) = Hole::new(bytes.len());
            holes.push((hole, bytes.clone()));
            (Segment::new(Body::Hole(range)), bytes)
        }
        _ => {
            let cell = PipeCell::in_memory(Bytes::from(bytes.clone()));
            (
                Segment::new(Body::Pipe(PipeRange::new(cell, bytes.len() as u64))),
                bytes,
            )
        }
    }
}

fn run_random_operations(seed: u64, turns: usize) {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut holes = Holes::new();
    let mut lists: Vec<(BufferList, Vec<u8>)> = vec![
        (BufferList::new(), Vec::new()),
        (BufferList::with_headroom(16), Vec::new()),
    ];
    for _ in 0..turns {
        let which = rng.below(lists.len() as u64) as usize;
        let len = lists[which].1.len() as u64;
        let at = rng.below(len + 1);
        let to = at + rng.below(len - at + 1);
        let (list, model) = &mut lists[which];
        match rng.below(12) {
            0 | 1 => {
                let (segment, bytes) = segment(&mut rng, &mut holes);
                list.push(segment);
                model.extend(bytes);
            }
            2 => {
                let (segment, bytes) = segment(&mut rng, &mut holes);
                list.push_front(segment);
                model.splice(0..0, bytes);
            }
            3 => {
                let bytes = rng.bytes();
                list.prepend(&bytes);
                model.splice(0..0, bytes);
            }
            4 => {
                let bytes = rng.bytes();
                list.extend_from_slice(&bytes);
                model.extend(bytes);
            }
            5 => {
                let front = (list.split_to(at), model.drain(..at as usize).collect());
                lists.push(front);
            }
            6 => {
                let back = (list.split_off(at), model.split_off(at as usize));
                lists.push(back);
            }
            7 => {
                let slice = (list.slice(at..to), model[at as usize..to as usize].to_vec());
                lists.push(slice);
            }
            8 => {
                let clone = (list.clone(), model.clone());
                lists.push(clone);
            }
            9 => {
                list.advance(at);
                model.drain(..at as usize);
            }
            10 => {
                list.truncate(to);
                model.truncate(to as usize);
            }
            _ => {
                let (mut other, bytes) = lists.swap_remove(which);
                if lists.is_empty() {
                    lists.push((BufferList::new(), Vec::new()));
                }
                let (list, model) = &mut lists[0];
                list.append(&mut other);
                model.extend(bytes);
                assert!(other.is_empty());
            }
        }
        if lists.len() > 4 {
            lists.swap_remove(rng.below(4) as usize);
        }
        for (list, model) in &lists {
            assert_eq!(list.len(), model.len() as u64);
            assert_eq!(list.segments().map(Segment::len).sum::<u64>(), list.len());
            assert!(list.segments().all(|segment| !segment.is_empty()));
        }
    }
    for (hole, bytes) in holes {
        hole.fill(&bytes);
    }
    for (list, model) in &lists {
        assert_eq!(&list.to_bytes().expect("all holes are filled")[..], &model[..]);
        for at in 0..model.len() {
            let range = at as u64..(at + 3).min(model.len()) as u64;
            assert_eq!(
                list.peek(range).expect("a window"),
                model[at..(at + 3).min(model.len())]
            );
        }
    }
}

#[test]
fn rope_matches_vec_model() {
    let (cases, turns) = if cfg!(miri) { (8, 40) } else { (2000, 60) };
    for seed in 1..=cases {
        run_random_operations(seed, turns);
    }
}

#[test]
fn rope_finds_bytes_after_changes_at_both_ends() {
    let mut list = BufferList::new();
    for number in 0..100_u8 {
        list.push(vec![number; 3]);
        list.push_front(vec![200; 2]);
    }
    list.advance(200);
    for number in 0..100_u64 {
        assert_eq!(
            list.peek(3 * number + 1..3 * number + 2).expect("a byte"),
            [number as u8]
        );
    }
}

#[test]
fn rope_peek_at_unfilled_hole_fails() {
    let mut list = BufferList::from("head");
    let hole = list.hole(2);
    list.push("tail");
    assert_eq!(list.peek(..4).expect("before the hole"), *b"head");
    assert_eq!(list.peek(3..5).unwrap_err().kind(), crate::ErrorKind::Hole);
    hole.fill(b"--");
    assert_eq!(list.peek(3..7).expect("filled"), *b"d--t");
}

#[test]
fn rope_parts_share_segment_id() {
    let mut list = BufferList::from(vec![1, 2, 3, 4]);
    let id = list.segments().next().expect("one").id();
    let back = list.split_off(2);
    let parts = [&list, &back, &list.clone()];
    assert!(
        parts
            .iter()
            .all(|part| part.segments().all(|segment| segment.id() == id))
    );
}

#[test]
#[should_panic(expected = "split_to(5) of 4 bytes")]
fn rope_split_beyond_end_panics() {
    let _ = BufferList::from("four").split_to(5);
}
