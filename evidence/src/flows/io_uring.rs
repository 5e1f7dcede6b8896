//! Requests of `io_uring`: names, directions, and which of them copy by contract.
//!
//! A request that does what a system call does has the contract of that call, because the kernel
//! runs the same function of the file (`io_uring/rw.c: io_read()`, `io_uring/net.c: io_send()`).
//! Requests that pass pages (`splice`, `send_zc`), and those that an eBPF program cannot name, are
//! unknown.

use zctrace_records::{
    AIO_REST, IO_URING_BASE, IO_URING_OVERFLOW, IO_URING_SUBMITTED, IO_URING_UNNAMED, IoCounterKey, io_counter_flag,
    uring_op,
};

/// Returns the opcode of a request by its number in a key of the I/O counters; `None` if the number
/// is that of a system call, or if the opcode is unknown.
fn opcode(number: u32) -> Option<u8> {
    let base = if number >= IO_URING_SUBMITTED {
        IO_URING_SUBMITTED
    } else {
        IO_URING_BASE
    };
    number.checked_sub(base).and_then(|opcode| u8::try_from(opcode).ok())
}

/// Returns whether the number in a key of the I/O counters is that of a request.
pub(super) const fn is_request(number: u32) -> bool {
    number >= IO_URING_BASE && number < IO_URING_SUBMITTED + 0x100
}

/// Returns whether a request reads into memory.
pub(super) fn reads(number: u32) -> bool {
    use uring_op::{READ, READ_FIXED, READ_MULTISHOT, READV, READV_FIXED, RECV, RECV_ZC, RECVMSG};
    opcode(number).is_some_and(|opcode| {
        is_request(number)
            && matches!(
                opcode,
                READ | READV | READ_FIXED | READV_FIXED | READ_MULTISHOT | RECV | RECVMSG | RECV_ZC
            )
    })
}

/// Returns whether a request moves bytes between two descriptors. Only the sink is known.
pub(super) fn is_transfer(number: u32) -> bool {
    is_request(number) && matches!(opcode(number), Some(uring_op::SPLICE | uring_op::TEE))
}

/// Returns whether the calls of a key copy by contract. System calls with other contracts are
/// recorded instead of being counted.
pub(super) fn copies(key: &IoCounterKey) -> bool {
    use uring_op::{
        READ, READ_FIXED, READ_MULTISHOT, READV, READV_FIXED, RECV, RECVMSG, SEND, SENDMSG, WRITE, WRITE_FIXED, WRITEV,
        WRITEV_FIXED,
    };
    if !is_request(key.nr) {
        return true;
    }
    let has_contract = matches!(
        opcode(key.nr),
        Some(
            READ | READV
                | READ_FIXED
                | READV_FIXED
                | READ_MULTISHOT
                | WRITE
                | WRITEV
                | WRITE_FIXED
                | WRITEV_FIXED
                | SEND
                | SENDMSG
                | RECV
                | RECVMSG
        )
    );
    has_contract && key.op_flags & io_counter_flag::NO_CONTRACT == 0
}

/// Returns the name of a request, such as `io_uring read`; `None` for a system call.
pub(super) fn name_of(number: u32) -> Option<String> {
    use uring_op as op;
    if !is_request(number) {
        return None;
    }
    let name = match opcode(number)? {
        op::READ | op::READV | op::READ_MULTISHOT => "read",
        op::READ_FIXED | op::READV_FIXED => "read_fixed",
        op::WRITE | op::WRITEV => "write",
        op::WRITE_FIXED | op::WRITEV_FIXED => "write_fixed",
        op::SEND | op::SENDMSG => "send",
        op::RECV | op::RECVMSG => "recv",
        op::SEND_ZC | op::SENDMSG_ZC => "send_zc",
        op::RECV_ZC => "recv_zc",
        op::SPLICE => "splice",
        op::TEE => "tee",
        op::URING_CMD => "command",
        other => return Some(format!("io_uring opcode {other}")),
    };
    Some(format!("io_uring {name}"))
}

/// Returns what the report lists as not covered, if the eBPF programs do not know the endpoint of a
/// request.
pub(super) fn without_endpoint(number: u32) -> Option<String> {
    match number {
        IO_URING_UNNAMED => {
            Some("completions of multishot requests of io_uring, which name neither request nor endpoint".to_owned())
        }
        AIO_REST => Some("calls of io_submit with more than 16 requests".to_owned()),
        IO_URING_OVERFLOW => Some("completions of io_uring beyond its completion queue".to_owned()),
        number if is_request(number) && number >= IO_URING_SUBMITTED => {
            name_of(number).map(|name| format!("{name} without a completion"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_records::nr;

    fn key(opcode: u8, op_flags: u32) -> IoCounterKey {
        IoCounterKey {
            nr: IO_URING_BASE + u32::from(opcode),
            op_flags,
            ..IoCounterKey::default()
        }
    }

    #[test]
    fn only_requests_with_the_contract_of_a_system_call_copy() {
        for opcode in 0..=u8::MAX {
            let expected = matches!(opcode, 1 | 2 | 4 | 5 | 9 | 10 | 22 | 23 | 26 | 27 | 49 | 60 | 61);
            assert_eq!(copies(&key(opcode, 0)), expected, "{opcode}");
            assert!(!copies(&key(opcode, io_counter_flag::NO_CONTRACT)), "{opcode}");
        }
        let call = IoCounterKey {
            nr: nr::PWRITEV2,
            ..IoCounterKey::default()
        };
        assert!(copies(&call), "counted system calls have a contract");
        for number in [IO_URING_UNNAMED, IO_URING_OVERFLOW, IO_URING_SUBMITTED + 26] {
            let unnamed = IoCounterKey {
                nr: number,
                op_flags: io_counter_flag::NO_CONTRACT,
                ..IoCounterKey::default()
            };
            assert!(!copies(&unnamed) && without_endpoint(number).is_some(), "{number:#x}");
        }
    }

    #[test]
    fn every_request_that_moves_payload_has_a_name() {
        for opcode in (0..uring_op::FIRST_UNKNOWN).filter(|opcode| uring_op::moves_payload(*opcode)) {
            let number = IO_URING_BASE + u32::from(opcode);
            let name = name_of(number).expect("it is a request");
            assert!(!name.contains("opcode"), "{opcode}: {name}");
            assert_eq!(name_of(IO_URING_SUBMITTED + u32::from(opcode)), Some(name));
        }
        assert_eq!(name_of(IO_URING_BASE + 200), Some("io_uring opcode 200".to_owned()));
        assert_eq!(name_of(nr::PWRITEV2), None);
    }
}
