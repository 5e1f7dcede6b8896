//! Records that the reader missed: each program numbers its records on each CPU.

use std::collections::HashMap;

use probes_common::program;

use crate::probe::Record;

/// What number comes next, by program and CPU.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    next: HashMap<(u32, u32), u64>,
    missing: HashMap<u32, u64>,
}

impl Gaps {
    /// Takes note of a record. Whether some before it are missing.
    pub(super) fn note(&mut self, record: &Record) -> bool {
        let Some(program) = record.program() else { return false };
        let header = record.header();
        let next = self.next.entry((program, header.cpu)).or_insert(0);
        let gap = header.sequence.saturating_sub(*next);
        *next = header.sequence + 1;
        if gap > 0 {
            *self.missing.entry(program).or_insert(0) += gap;
        }
        gap > 0
    }

    /// Records of a program that are missing, by its name.
    pub(super) fn missing_of(&self, name: &str) -> u64 {
        let number = match name {
            "sys_enter" => program::SYS_ENTER,
            "sys_exit" => program::SYS_EXIT,
            "net_dev_start_xmit" => program::NET_DEV_START_XMIT,
            "inet_sock_set_state" => program::INET_SOCK_SET_STATE,
            "consume_skb" => program::CONSUME_SKB,
            "kfree_skb" => program::KFREE_SKB,
            "block_bio_queue" => program::BLOCK_BIO_QUEUE,
            "sched_process_fork" => program::SCHED_PROCESS_FORK,
            "sched_process_exec" => program::SCHED_PROCESS_EXEC,
            "sched_process_exit" => program::SCHED_PROCESS_EXIT,
            _ => return 0,
        };
        self.missing.get(&number).copied().unwrap_or(0)
    }
}
