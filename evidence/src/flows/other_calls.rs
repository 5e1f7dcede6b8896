//! Calls that move payload in ways of their own, and requests of Linux AIO: names, directions, and
//! what is known of their bytes.

use zctrace_contract::Reason;
use zctrace_records::{AIO_BASE, AIO_REST, IoCounterKey, LOOP_DEVICE, io_counter_flag, nr};
use zctrace_report::Account;

/// Returns the name of a call or request; `None` if it is no such call.
pub(super) fn name_of(number: u32) -> Option<&'static str> {
    Some(match number {
        nr::MMAP => "mmap",
        nr::IOCTL => "ioctl FICLONE",
        LOOP_DEVICE => "a loop device over it",
        nr::GETSOCKOPT => "getsockopt TCP_ZEROCOPY_RECEIVE",
        nr::PROCESS_VM_READV => "process_vm_readv",
        nr::PROCESS_VM_WRITEV => "process_vm_writev",
        number if is_aio(number) && reads(number) => "aio read",
        number if is_aio(number) => "aio write",
        _ => return None,
    })
}

/// Returns whether the number is that of a request of Linux AIO.
pub(super) const fn is_aio(number: u32) -> bool {
    number >= AIO_BASE && number <= AIO_REST
}

/// Returns whether a call reads into memory (`IOCB_CMD_PREAD`, `IOCB_CMD_PREADV`).
pub(super) const fn reads(number: u32) -> bool {
    matches!(number, nr::GETSOCKOPT) || number == AIO_BASE || number == AIO_BASE + 7
}

/// Returns the account of the bytes of a row, and the reason of the unknown ones; `None` if the
/// call has the contract of read(2) or write(2).
pub(super) fn account_of(key: &IoCounterKey, bytes: u64) -> Option<(Account, Option<Reason>)> {
    let mut account = Account::default();
    let reason = match key.nr {
        // The sink refers to the source's blocks (fs/remap_range.c: `do_clone_file_range()`).
        nr::IOCTL => {
            account.excluded.cloned = bytes;
            None
        }
        number if is_aio(number) => Some(Reason::AsyncIo),
        _ if key.op_flags & io_counter_flag::NO_CONTRACT != 0 => Some(Reason::NotObserved),
        _ => return None,
    };
    if reason.is_some() {
        account.unknown = bytes;
    }
    Some((account, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(nr: u32, op_flags: u32) -> IoCounterKey {
        IoCounterKey {
            nr,
            op_flags,
            ..IoCounterKey::default()
        }
    }

    #[test]
    fn asynchronous_requests_and_sends_without_contract_are_unknown() {
        for (key, expected) in [
            (key(AIO_BASE, 0), Reason::AsyncIo),
            (key(AIO_BASE + 1, 0), Reason::AsyncIo),
            (key(nr::SENDMMSG, io_counter_flag::NO_CONTRACT), Reason::NotObserved),
            (key(nr::GETSOCKOPT, io_counter_flag::NO_CONTRACT), Reason::NotObserved),
        ] {
            let (account, reason) = account_of(&key, 7).expect("it has no contract");
            assert_eq!(
                (account.unknown, account.total(), reason),
                (7, 7, Some(expected)),
                "{key:?}"
            );
        }
        assert_eq!(account_of(&key(nr::WRITE, 0), 7), None);
        assert_eq!(account_of(&key(nr::PROCESS_VM_READV, 0), 7), None);
    }

    #[test]
    fn clone_moves_no_payload() {
        let (account, reason) = account_of(&key(nr::IOCTL, 0), 7).expect("it is no write");
        assert_eq!((account.excluded.cloned, account.total(), reason), (7, 7, None));
    }
}
