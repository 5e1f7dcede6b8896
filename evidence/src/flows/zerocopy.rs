//! What the kernel itself told of sends that should not copy: counted, never verdicts by.

use std::collections::{BTreeMap, HashMap};

use zctrace_records::{ZerocopyCompletion, completion_flag, completion_source, endpoint_kind};

use crate::Evidence;
use crate::collections::range_set::RangeSet;
use crate::decode::endpoints::EndpointId;
use zctrace_report::{Notice, NoticeBy, Report};

/// Processes and connections that are kept apart. What comes beyond is counted by process only.
const MAX_ROWS: usize = 16_384;
/// Rows of a report at most, those of most sends.
const MAX_LISTED: usize = 200;
/// Sends of one notice at most: a socket numbers them by 32 bits, and nobody has so many under way.
const MAX_SENDS: u32 = 1 << 24;

/// Notices of one process for one end.
#[derive(Debug, Default)]
struct Sum {
    sends: u64,
    copied: u64,
    not_asked: u64,
}

/// All notices.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    sums: BTreeMap<(u32, u32, Option<EndpointId>), Sum>,
    /// The sends of each socket of which it was told already, by its inode number: a notice that was joined to the one before
    /// it passes twice, first by itself.
    told: HashMap<u64, RangeSet>,
}

impl Notices {
    fn take(&mut self, told: &ZerocopyCompletion, to: Option<EndpointId>) {
        let sends = match told.source {
            completion_source::ERROR_QUEUE => {
                let last = told.last.wrapping_sub(told.first);
                if last >= MAX_SENDS {
                    return;
                }
                if self.told.len() >= MAX_ROWS && !self.told.contains_key(&told.endpoint.ino) {
                    self.told.clear();
                }
                let known = self.told.entry(told.endpoint.ino).or_default();
                // Numbers go round: those of a notice that does are taken for higher ones.
                let (first, count) = (u64::from(told.first), u64::from(last) + 1);
                let new = count - known.covered(first, count);
                known.add(first, count);
                new
            }
            completion_source::IO_URING => 1,
            _ => return,
        };
        let key = (told.tgid, told.source, to);
        let key = if self.sums.len() >= MAX_ROWS && !self.sums.contains_key(&key) {
            (told.tgid, told.source, None)
        } else {
            key
        };
        let sum = self.sums.entry(key).or_default();
        sum.sends += sends;
        if told.flags & completion_flag::COPIED != 0 {
            sum.copied += sends;
        }
        if told.flags & completion_flag::NO_USAGE_REPORT != 0 {
            sum.not_asked += sends;
        }
    }

    /// A new account: what was told already is not told again.
    pub(crate) fn reset(&mut self) {
        self.sums.clear();
    }
}

impl Evidence {
    /// Takes what the kernel told of a send without copy.
    pub fn zerocopy_completion(&mut self, told: &ZerocopyCompletion) {
        let to = (told.endpoint.kind != endpoint_kind::NONE).then(|| self.ends.of(&told.endpoint));
        self.notices.take(told, to);
    }

    pub(crate) fn fill_notices(&self, report: &mut Report) {
        let rows = self.notices.sums.iter().filter(|(_, sum)| sum.sends > 0);
        let mut rows: Vec<Notice> = rows
            .map(|(&(pid, by, to), sum)| Notice {
                pid,
                process: self.processes.get(&pid).cloned().unwrap_or_default(),
                to: to.map(|to| self.ends.report(to)),
                by: if by == completion_source::IO_URING {
                    NoticeBy::IoUring
                } else {
                    NoticeBy::ErrorQueue
                },
                sends: sum.sends,
                copied: sum.copied,
                not_asked: sum.not_asked,
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.sends));
        report.left_out.notices += rows.len().saturating_sub(MAX_LISTED) as u64;
        rows.truncate(MAX_LISTED);
        report.notices = rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_records::{EndpointState, RecordHeader};

    fn told(first: u32, last: u32, flags: u32) -> ZerocopyCompletion {
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
        let mut notices = Notices::default();
        for one in all {
            notices.take(one, Some(EndpointId::MEMORY));
        }
        let sums = notices.sums.values();
        sums.fold((0, 0), |(sends, copied), sum| (sends + sum.sends, copied + sum.copied))
    }

    #[test]
    fn a_notice_that_was_joined_is_counted_by_its_own_word() {
        // 3 and 4 join the one of 0 to 2, which then speaks for all.
        let joined = told(3, 4, completion_flag::COPIED);
        let head = told(0, 4, 0);
        assert_eq!(sums(&[joined, head]), (5, 2));
        assert_eq!(sums(&[told(0, 2, 0), told(3, 4, completion_flag::COPIED)]), (5, 2));
        assert_eq!(sums(&[head, head]), (5, 0), "nobody is told twice");
    }

    #[test]
    fn numbers_go_round_and_nonsense_is_left_out() {
        assert_eq!(sums(&[told(u32::MAX - 1, 1, completion_flag::COPIED)]), (4, 4));
        assert_eq!(sums(&[told(5, 4, completion_flag::COPIED)]), (0, 0));
    }

    #[test]
    fn what_io_uring_tells_is_one_send_each() {
        let mut one = told(0, 0, completion_flag::NO_USAGE_REPORT);
        one.source = completion_source::IO_URING;
        let mut notices = Notices::default();
        notices.take(&one, None);
        notices.take(&one, None);
        let sum = notices.sums.values().next().expect("it was counted");
        assert_eq!((sum.sends, sum.copied, sum.not_asked), (2, 0, 2));
    }
}
