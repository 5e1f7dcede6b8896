//! Writes to pipes: smaller than the ring, and larger with a consumer in between.

use zctrace_records::{PageRange, nr};

use super::{ANONYMOUS, Bytes, Done, ModelKernel, SLOTS};

impl ModelKernel {
    /// write(pipe), always into fresh pages, as far as there is space.
    pub(crate) fn write(&mut self, len: u64, pipe: usize) -> Option<Done> {
        self.write_with_consumer(len, pipe, |_| None)
    }

    /// write(pipe) of all bytes: whenever the ring is full, `consume` takes bytes out and returns.
    pub(crate) fn write_with_consumer(
        &mut self,
        len: u64,
        pipe: usize,
        consume: impl Fn(&mut Self) -> Option<Done>,
    ) -> Option<Done> {
        let mut call = self.call(nr::WRITE, Self::memory(), self.pipe_state(pipe));
        let head = self.pipes[pipe].head;
        let mut left = len - self.append(pipe, len);
        loop {
            left -= self.fill(pipe, left);
            if left == 0 {
                break;
            }
            let Some(done) = consume(self) else { break };
            self.exit(done);
        }
        call.result = (len - left) as i64;
        let n = self.pipes[pipe].head.wrapping_sub(head);
        (left < len).then(|| Done {
            call,
            pushed: Some((pipe, head, n)),
            popped_slots: None,
            bios: Vec::new(),
            snapshot: None,
        })
    }

    /// Appends bytes to the last slot if all of them fit there. Returns how many were appended.
    fn append(&mut self, pipe: usize, len: u64) -> u64 {
        let p = &mut self.pipes[pipe];
        if p.head == p.tail {
            return 0;
        }
        let at = (p.head.wrapping_sub(1) % SLOTS) as usize;
        if let Some(last) = &mut p.slots[at]
            && last.range.ops == ANONYMOUS
            && len <= u64::from(4096 - last.range.offset - last.range.len)
        {
            last.range.len += len as u32;
            return len;
        }
        0
    }

    /// Fills free slots and returns the number of bytes.
    fn fill(&mut self, pipe: usize, len: u64) -> u64 {
        let mut done = 0;
        while done < len && self.free_slots(pipe) > 0 {
            let n = (len - done).min(4096);
            let range = PageRange {
                page: self.fresh_page(),
                ops: ANONYMOUS,
                len: n as u32,
                ..PageRange::default()
            };
            self.push(
                pipe,
                Bytes {
                    range,
                    origin: None,
                    copied: true,
                    in_snapshot: 0,
                },
            );
            done += n;
        }
        done
    }
}
