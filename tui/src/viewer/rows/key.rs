//! Row keys: identify the subject of a row across snapshots.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use zctrace_report::{Endpoint, Flow, Peek, Pipe, Report, Segment};

/// Key of a row. Numbers of flows change when new flows appear, so this is a hash of the row's
/// subject.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RowKey(pub(crate) u64);

/// FNV-1a over words: names are short, and a forged collision only moves the cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHasher(u64);

impl Default for KeyHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // Folds in the upper half, because a product alone never carries high bits to low ones.
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map whose keys are hashes already.
pub(super) type ByKey<T> = HashMap<RowKey, T, BuildHasherDefault<KeyHasher>>;

/// Returns the key of any hashable value.
pub(super) fn hash_key<T: Hash>(what: T) -> RowKey {
    let mut hasher = KeyHasher::default();
    what.hash(&mut hasher);
    RowKey(hasher.finish())
}

/// Returns the key of a process.
pub(super) fn of_pid(pid: u32) -> RowKey {
    hash_key(("process", pid))
}

/// Returns the key of a pipe.
pub(super) fn of_pipe(pipe: &Pipe) -> RowKey {
    hash_key(("pipe", pipe.inode))
}

/// Returns the key of a segment.
pub(super) fn of_segment(segment: &Segment) -> RowKey {
    hash_key(("segment", segment.pid, segment.id, segment.pipe))
}

/// Returns the key of a peek.
pub(super) fn of_look(look: &Peek) -> RowKey {
    let place = look
        .call_site
        .as_ref()
        .map(|place| (&place.file, place.line, &place.function));
    hash_key(("look", look.pid, look.segment, place, &look.operation, &look.method))
}

/// Identity of a flow within its group.
fn of_flow(flow: &Flow) -> RowKey {
    fn end<H: Hasher>(end: &Endpoint, hasher: &mut H) {
        end.kind.hash(hasher);
        end.name.hash(hasher);
        (end.port, &end.object).hash(hasher);
    }
    let mut hasher = KeyHasher::default();
    end(&flow.from, &mut hasher);
    end(&flow.to, &mut hasher);
    (flow.pid, &flow.process, &flow.name).hash(&mut hasher);
    flow.path.hash(&mut hasher);
    flow.call_names.hash(&mut hasher);
    RowKey(hasher.finish())
}

/// Keys of a report's flows in order, with their positions; computed once per snapshot.
#[derive(Clone, Default, Debug)]
pub(crate) struct FlowKeys {
    of_flow: Vec<RowKey>,
    index: ByKey<u32>,
}

impl FlowKeys {
    /// Computes the keys of a report.
    pub(crate) fn from_report(report: &Report) -> Self {
        let mut keys = Self {
            of_flow: Vec::with_capacity(report.flows.len()),
            index: ByKey::with_capacity_and_hasher(report.flows.len(), BuildHasherDefault::default()),
        };
        // Number of earlier flows with the same key.
        let mut same: ByKey<u64> = ByKey::default();
        for (index, flow) in report.flows.iter().enumerate() {
            let mut key = of_flow(flow);
            if keys.index.contains_key(&key) {
                // Flows with the same subject are numbered in their order.
                let number = same.entry(key).or_default();
                *number += 1;
                key = hash_key((key, *number));
            }
            keys.index.insert(key, index as u32);
            keys.of_flow.push(key);
        }
        keys
    }

    /// Returns the key of this flow.
    pub(crate) fn key(&self, index: usize) -> Option<RowKey> {
        self.of_flow.get(index).copied()
    }

    /// Returns the position of the flow with this key.
    pub(crate) fn position(&self, key: RowKey) -> Option<usize> {
        self.index.get(&key).map(|&index| index as usize)
    }
}
