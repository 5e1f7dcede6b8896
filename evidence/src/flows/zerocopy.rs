//! Zero-copy completions: the kernel's notifications about sends with `MSG_ZEROCOPY` or `SEND_ZC`.
//!
//! Completions are counted and never used for a verdict.

use std::collections::{BTreeMap, HashMap};

use zctrace_records::{ZerocopyCompletion, completion_flag, completion_source, endpoint_kind};

use crate::collections::range_set::RangeSet;
use crate::decode::endpoints::{EndpointId, Endpoints};
use crate::decode::process_names::ProcessNames;
use zctrace_report::{CompletionSource, Report, ZerocopySummary};

/// Maximum number of distinct rows. Further completions are counted by process only.
const MAX_ROWS: usize = 16_384;
/// Rows of a report.
const MAX_LISTED: usize = 200;
/// Sends of one completion. A socket numbers sends by 32 bits and never has this many in flight.
const MAX_SENDS: u32 = 1 << 24;

/// Completions of one process and socket.
#[derive(Debug, Default)]
struct Sum {
    sends: u64,
    copied: u64,
    /// The application did not ask `io_uring` to report copies.
    no_usage_report: u64,
}

/// Zero-copy completions of one account.
#[derive(Debug, Default)]
pub(crate) struct ZerocopyCompletions {
    /// By process, source and socket.
    sums: BTreeMap<(u32, u32, Option<EndpointId>), Sum>,
    /// Sends of each socket that are counted, by inode number. A completion that was merged into
    /// the one before it passes twice, first by itself.
    counted: HashMap<u64, RangeSet>,
}

impl ZerocopyCompletions {
    /// Counts a completion.
    pub(crate) fn add(&mut self, completion: &ZerocopyCompletion, endpoints: &mut Endpoints) {
        let to = (completion.endpoint.kind != endpoint_kind::NONE).then(|| endpoints.of(&completion.endpoint));
        self.add_to(completion, to);
    }

    fn add_to(&mut self, completion: &ZerocopyCompletion, to: Option<EndpointId>) {
        let sends = match completion.source {
            completion_source::ERROR_QUEUE => {
                let last = completion.last.wrapping_sub(completion.first);
                if last >= MAX_SENDS {
                    return;
                }
                let socket = completion.endpoint.ino;
                if self.counted.len() >= MAX_ROWS && !self.counted.contains_key(&socket) {
                    self.counted.clear();
                }
                let counted = self.counted.entry(socket).or_default();
                // Numbers wrap. A completion that wraps is counted as higher numbers.
                let (first, count) = (u64::from(completion.first), u64::from(last) + 1);
                let new = count - counted.covered(first, count);
                counted.add(first, count);
                new
            }
            completion_source::IO_URING => 1,
            _ => return,
        };
        let mut key = (completion.tgid, completion.source, to);
        if self.sums.len() >= MAX_ROWS && !self.sums.contains_key(&key) {
            key.2 = None;
        }
        let sum = self.sums.entry(key).or_default();
        sum.sends += sends;
        if completion.flags & completion_flag::COPIED != 0 {
            sum.copied += sends;
        }
        if completion.flags & completion_flag::NO_USAGE_REPORT != 0 {
            sum.no_usage_report += sends;
        }
    }

    /// Removes all rows. Completions that were counted are not counted again.
    pub(crate) fn reset(&mut self) {
        self.sums.clear();
    }

    /// Lists the processes and sockets with most sends in a report.
    pub(crate) fn fill(&self, report: &mut Report, endpoints: &Endpoints, processes: &ProcessNames) {
        let rows = self.sums.iter().filter(|(_, sum)| sum.sends > 0);
        let mut rows: Vec<ZerocopySummary> = rows
            .map(|(&(pid, source, to), sum)| ZerocopySummary {
                pid,
                process: processes.name(pid),
                to: to.map(|to| endpoints.report(to)),
                source: if source == completion_source::IO_URING {
                    CompletionSource::IoUring
                } else {
                    CompletionSource::ErrorQueue
                },
                sends: sum.sends,
                copied_sends: sum.copied,
                unreported_sends: sum.no_usage_report,
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.sends));
        report.omitted.zerocopy_completions += rows.len().saturating_sub(MAX_LISTED) as u64;
        rows.truncate(MAX_LISTED);
        report.zerocopy_completions = rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_records::{EndpointState, RecordHeader};

    fn completion(first: u32, last: u32, flags: u32) -> ZerocopyCompletion {
        ZerocopyCompletion {
            header: RecordHeader {
                sequence: 0,
                timestamp_ns: 0,
                tgid: 0,
                tid: 0,
                cpu: 0,
                kind: ZerocopyCompletion::KIND,
                len: 0,
            },
            endpoint: EndpointState {
                kind: endpoint_kind::TCP,
                ino: 7,
                ..EndpointState::default()
            },
            tgid: 1,
            source: completion_source::ERROR_QUEUE,
            flags,
            first,
            last,
            reserved: 0,
        }
    }

    fn sums(all: &[ZerocopyCompletion]) -> (u64, u64) {
        let mut completions = ZerocopyCompletions::default();
        for one in all {
            completions.add_to(one, Some(EndpointId::MEMORY));
        }
        let sums = completions.sums.values();
        sums.fold((0, 0), |(sends, copied), sum| (sends + sum.sends, copied + sum.copied))
    }

    #[test]
    fn merged_completion_counts_each_send_once() {
        // 3 and 4 were merged into the completion of 0 to 2, which then reports all five.
        let joined = completion(3, 4, completion_flag::COPIED);
        let head = completion(0, 4, 0);
        assert_eq!(sums(&[joined, head]), (5, 2));
        assert_eq!(
            sums(&[completion(0, 2, 0), completion(3, 4, completion_flag::COPIED)]),
            (5, 2)
        );
        assert_eq!(sums(&[head, head]), (5, 0), "nobody is told twice");
    }

    #[test]
    fn send_numbers_wrap_and_invalid_ranges_are_ignored() {
        assert_eq!(sums(&[completion(u32::MAX - 1, 1, completion_flag::COPIED)]), (4, 4));
        assert_eq!(sums(&[completion(5, 4, completion_flag::COPIED)]), (0, 0));
    }

    #[test]
    fn io_uring_completion_counts_as_one_send() {
        let mut one = completion(0, 0, completion_flag::NO_USAGE_REPORT);
        one.source = completion_source::IO_URING;
        let mut completions = ZerocopyCompletions::default();
        completions.add_to(&one, None);
        completions.add_to(&one, None);
        let sum = completions.sums.values().next().expect("it was counted");
        assert_eq!((sum.sends, sum.copied, sum.no_usage_report), (2, 0, 2));
    }
}
