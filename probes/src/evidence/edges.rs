//! What calls did, call by call: sums per process, call and pair of ends. What a call returned is what its edge accounts for.

use std::collections::{BTreeMap, HashMap};

use super::ends::{EndId, Ends};
use super::flows::{Symbols, add, call_of, station};
use super::trail::Outcome;
use crate::report::{self, Account, Cause, Edge};

/// Whose edge, from where to where.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct EdgeKey {
    pub(crate) tgid: u32,
    pub(crate) nr: u32,
    pub(crate) from: EndId,
    pub(crate) to: EndId,
}

#[derive(Clone, Debug, Default)]
struct EdgeSum {
    calls: u64,
    failed: u64,
    outcomes: BTreeMap<(Outcome, u64), (u64, u64)>,
}

/// All edges.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    sums: HashMap<EdgeKey, EdgeSum>,
}

/// Edges that are kept apart.
const MOST: usize = 100_000;

impl Edges {
    fn sum(&mut self, key: EdgeKey) -> &mut EdgeSum {
        let key = if self.sums.len() >= MOST && !self.sums.contains_key(&key) {
            EdgeKey {
                tgid: 0,
                from: EndId::PIPE,
                to: EndId::PIPE,
                ..key
            }
        } else {
            key
        };
        self.sums.entry(key).or_default()
    }

    /// A call that returned bytes.
    pub(crate) fn call(&mut self, key: EdgeKey) {
        self.sum(key).calls += 1;
    }

    /// A call that returned none.
    pub(crate) fn failed(&mut self, key: EdgeKey) {
        self.sum(key).failed += 1;
    }

    /// What became of bytes that a call returned. `user_ip` is kept for what did not move.
    pub(crate) fn bytes(&mut self, key: EdgeKey, outcome: Outcome, user_ip: u64, bytes: u64) {
        let user_ip = match outcome {
            Outcome::Copied(_) | Outcome::Unknown(_) => user_ip,
            _ => 0,
        };
        let part = self.sum(key).outcomes.entry((outcome, user_ip)).or_default();
        part.0 += bytes;
        part.1 += 1;
    }

    /// Puts the edges into a report, with what is still under way as unknown.
    pub(crate) fn fill(
        &self,
        report: &mut report::Report,
        under_way: &[(EdgeKey, Outcome, u64, u64)],
        ends: &Ends,
        symbols: &Symbols<'_>,
    ) {
        let mut all = self.sums.clone();
        for &(key, outcome, user_ip, bytes) in under_way {
            let part = all
                .entry(key)
                .or_default()
                .outcomes
                .entry((outcome, user_ip))
                .or_default();
            part.0 += bytes;
            part.1 += 1;
        }
        let mut rows: Vec<_> = all.into_iter().collect();
        rows.sort_by_key(|(key, _)| *key);
        for (key, sum) in rows {
            let mut edge = Edge::new(call_of(key.nr), station(ends, key.from), station(ends, key.to));
            edge.pid = Some(key.tgid).filter(|&pid| pid != 0);
            edge.calls = sum.calls;
            edge.failed_calls = sum.failed;
            let mut account = Account::default();
            for ((outcome, user_ip), (bytes, calls)) in sum.outcomes {
                add(&mut account, outcome, bytes);
                if let Outcome::Copied(reason) | Outcome::Unknown(reason) = outcome {
                    edge.reasons.push(Cause {
                        place: symbols(key.tgid, user_ip),
                        ..Cause::new(reason, bytes, calls)
                    });
                }
            }
            edge.set_account(account);
            report.edges.push(edge);
        }
    }
}
