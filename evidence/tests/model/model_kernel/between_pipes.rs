//! Calls that pass slots from one pipe to another.

use zctrace_records::nr;

use super::{ANONYMOUS, DEFAULT, Done, ModelKernel, SLOTS};

impl ModelKernel {
    /// splice(pipe, pipe): whole slots, and a part of the last.
    pub(crate) fn pipe_to_pipe(&mut self, from: usize, to: usize, len: u64) -> Option<Done> {
        if from == to {
            return None;
        }
        let sink = self.pipe_state(to);
        let head = self.pipes[to].head;
        let available: Vec<u32> = self.slot_lens(from);
        let free_bytes: u64 = available
            .iter()
            .take(self.free_slots(to) as usize)
            .map(|&n| u64::from(n))
            .sum();
        let (mut done, bytes) = self.consume(nr::SPLICE, from, len.min(free_bytes), sink)?;
        for b in &bytes {
            self.push(to, *b);
        }
        done.pushed = Some((to, head, bytes.len() as u32));
        Some(done)
    }

    fn slot_lens(&self, pipe: usize) -> Vec<u32> {
        let p = &self.pipes[pipe];
        (0..p.head.wrapping_sub(p.tail))
            .map(|n| p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize].map_or(0, |b| b.range.len))
            .collect()
    }

    /// tee(2).
    pub(crate) fn tee(&mut self, from: usize, to: usize, len: u64) -> Option<Done> {
        if from == to {
            return None;
        }
        let mut call = self.call(nr::TEE, self.pipe_state(from), self.pipe_state(to));
        let head = self.pipes[to].head;
        let mut left = len as u32;
        for n in 0..self.slot_lens(from).len() as u32 {
            let p = &self.pipes[from];
            let bytes = p.slots[(p.tail.wrapping_add(n) % SLOTS) as usize]?;
            if left == 0 || self.free_slots(to) == 0 {
                break;
            }
            let take = bytes.range.len.min(left);
            left -= take;
            let mut copy = bytes.split(take).0;
            // Nothing is appended to the duplicate of a written page.
            if copy.range.ops == ANONYMOUS {
                copy.range.ops = DEFAULT;
            }
            call.result += i64::from(take);
            self.push(to, copy);
        }
        let n = self.pipes[to].head.wrapping_sub(head);
        (n > 0).then(|| Done {
            call,
            pushed: Some((to, head, n)),
            popped_slots: None,
            bios: Vec::new(),
            snapshot: None,
        })
    }
}
