//! eBPF programs of tier T0: raw tracepoints that record where bytes are, as addresses and lengths,
//! never contents.
//!
//! All kernel memory is read with `bpf_probe_read_kernel` or `bpf_rdonly_cast`. Pointers with BTF
//! types would be faster, but which of them a program may dereference differs between kernels. The
//! loader fills in the offsets of structure members, see [`offsets`].
//!
//! | file | programs |
//! |---|---|
//! | [`mod@sys_enter`], [`mod@sys_exit`] | `sys_enter`, `sys_exit`: calls that move bytes are recorded, plain calls are counted |
//! | [`other_calls`] | part of `sys_exit`: calls that move payload in ways of their own are counted |
//! | [`tcp_packet`] | `net_dev_start_xmit`, `inet_sock_set_state`: packets of traced connections, and their closing |
//! | [`unix_message`] | `consume_skb`, `kfree_skb`: messages of traced UNIX sockets |
//! | [`block_io`] | `block_bio_queue`, `writeback_dirty_folio`: block I/O and dirtied pages of a call |
//! | [`process`] | `sched_process_fork`, `sched_process_exec`, `sched_process_exit`, `task_rename`: the traced processes |
//! | [`iter_task_file`] | `task_file`, an iterator: descriptors that are open when tracing starts |
//! | [`zerocopy_completion`] | `io_uring_complete`, and parts of others: zero-copy completions |
//! | [`io_uring`] | `io_uring_complete`, `io_uring_submit_req`, `io_uring_cqe_overflow`: requests are counted |
//! | [`digest`] | `sock_send_length`, `digest_xmit`, `digest_close`: page digests instead of records, without hooks on system calls |

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[macro_use]
mod scratch;

mod accumulator;
mod block_io;
mod connection;
mod digest;
mod emit;
mod endpoint;
mod endpoint_name;
mod ids;
mod in_flight;
mod io_counters;
mod io_uring;
mod iter_task_file;
mod offsets;
mod other_calls;
mod page;
mod page_record;
mod pipe_slots;
mod process;
mod read;
mod scope;
mod skb;
mod socket;
mod sys_enter;
mod sys_exit;
mod syscall_args;
mod tail_call;
mod tcp_packet;
mod unix_message;
mod zerocopy_completion;

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

/// Defines programs from functions that take the context of a raw tracepoint.
macro_rules! raw_tracepoints {
    ($($(#[$doc:meta])* fn $name:ident($ctx:ident) {$($body:tt)*})*) => {$(
        $(#[$doc])*
        #[raw_tracepoint]
        pub(crate) fn $name($ctx: RawTracePointContext) -> i32 {
            $($body)*
            0
        }
    )*};
}

raw_tracepoints! {
    /// Handles the entry of a system call. Arguments: `regs`, `id`.
    fn sys_enter(ctx) {
        sys_enter::run(ctx.arg(0), ctx.arg(1));
    }

    /// Handles the exit of a system call. Arguments: `regs`, `ret`.
    fn sys_exit(ctx) {
        sys_exit::run(&ctx);
    }

    /// Continues `sys_exit`, which reaches it by a tail call, several times for large rings. Each
    /// run processes only a few slots, which limits the verifier's work.
    fn tail_pipe_slots(ctx) {
        sys_exit::continue_slots(&ctx);
    }

    /// Continues `sys_exit`, which reaches it by a tail call, for calls that move payload in ways
    /// of their own.
    fn tail_other_calls(ctx) {
        other_calls::on_exit(&ctx);
    }

    /// Handles a packet that is passed to a network device. Arguments: `skb`, `dev`.
    fn net_dev_start_xmit(ctx) {
        tcp_packet::on_xmit(&ctx);
    }

    /// Continues `net_dev_start_xmit`, which reaches it by a tail call for packets with many
    /// fragments.
    fn tail_skb_frags(ctx) {
        tcp_packet::continue_frags(&ctx);
    }

    /// Handles a state change of a TCP socket. Arguments: `sk`, `oldstate`, `newstate`.
    fn inet_sock_set_state(ctx) {
        tcp_packet::on_state_change(ctx.arg(0), ctx.arg(2));
    }

    /// Handles a packet or message that was consumed. Arguments: `skb` (later kernels pass more).
    fn consume_skb(ctx) {
        unix_message::on_skb_freed(ctx.arg(0), false);
    }

    /// Handles a packet or message that was discarded. Arguments: `skb` (later kernels pass more).
    fn kfree_skb(ctx) {
        unix_message::on_skb_freed(ctx.arg(0), true);
    }

    /// Handles a bio that is queued to a block device. Arguments: `bio`. The prototype of Linux
    /// 5.10 differs, and the program must not be attached to it.
    fn block_bio_queue(ctx) {
        block_io::on_bio_queue(&ctx);
    }

    /// Continues `block_bio_queue`, which reaches it by a tail call, once per record.
    fn tail_bio_vecs(ctx) {
        block_io::emit_vectors(&ctx);
    }

    /// Handles pages of a file that become dirty. Arguments: `folio`, `mapping`.
    fn writeback_dirty_folio(ctx) {
        block_io::on_folio_dirtied(ctx.arg(0), ctx.arg(1));
    }

    /// Handles a thread that changes its name. Arguments: `task`, `comm`.
    fn task_rename(ctx) {
        process::on_rename(ctx.arg(0), ctx.arg(1));
    }

    /// Handles a call that has sent bytes to a socket. Arguments: `sk`, `ret`, `flags` (always 0).
    fn sock_send_length(ctx) {
        digest::on_send(ctx.arg(0), ctx.arg(1));
    }

    /// Handles a packet that is passed to a network device, at level `digest`. Attached to
    /// `net_dev_start_xmit`. Arguments: `skb`, `dev`.
    fn digest_xmit(ctx) {
        digest::on_xmit(ctx.arg(0));
    }

    /// Handles a state change of a TCP socket, at level `digest`. Attached to
    /// `inet_sock_set_state`. Arguments: `sk`, `oldstate`, `newstate`.
    fn digest_close(ctx) {
        digest::on_close(ctx.arg(0), ctx.arg(2));
    }

    /// Handles a completed request of `io_uring`. Arguments: `ctx`, `req`, `cqe`. Before Linux
    /// 6.15, the members of the result follow `req` instead: `user_data`, `res`, `cflags`.
    fn io_uring_complete(ctx) {
        let (result, flags) = if offsets::CQE_BY_ADDRESS.load() == 1 {
            // struct io_uring_cqe (`include/uapi/linux/io_uring.h`) starts with 8 bytes of user
            // data.
            let [result, flags] = read::kernel::<[u32; 2]>(ctx.arg::<u64>(2).wrapping_add(8));
            (result, flags)
        } else {
            (ctx.arg::<u64>(3) as u32, ctx.arg::<u64>(4) as u32)
        };
        zerocopy_completion::on_io_uring_complete(ctx.arg(1), result, flags);
        io_uring::on_complete(ctx.arg(1), result, flags);
    }

    /// Handles a request that `io_uring` is about to carry out. Arguments: `req`.
    fn io_uring_submit_req(ctx) {
        io_uring::on_submit(ctx.arg(0));
    }

    /// Handles a completion that found no room in the completion queue. Arguments: `ctx`,
    /// `user_data`, `res`, `cflags`, `ocqe`.
    fn io_uring_cqe_overflow(ctx) {
        io_uring::on_overflow(ctx.arg::<u64>(2) as u32);
    }

    /// Handles the creation of a process or thread. Arguments: `parent`, `child`.
    fn sched_process_fork(ctx) {
        process::on_fork(ctx.arg(0), ctx.arg(1));
    }

    /// Handles a process that executes another program. Arguments: `task`, the previous ID of its
    /// thread, and more.
    fn sched_process_exec(ctx) {
        process::on_exec(ctx.arg(0), ctx.arg(1));
    }

    /// Handles the end of a thread. Arguments: `task` (later kernels pass more).
    fn sched_process_exit(ctx) {
        process::on_exit(ctx.arg(0));
    }
}

/// Handles one descriptor of the iteration. `aya-ebpf` has no attribute for iterators, so the
/// section's name makes the program one.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub(crate) extern "C" fn task_file(context: *const iter_task_file::IterContext) -> i32 {
    // SAFETY: dereferencing `context` requires a valid pointer to an `IterContext`. The kernel
    // passes a context of this layout. Its pointers are used only as numbers.
    let (task, fd, file) = unsafe { ((*context).task, (*context).fd as u32, (*context).file) };
    iter_task_file::visit(read::opaque(task), fd, read::opaque(file))
}

/// License of the object. Helpers and reads of kernel memory require a GPL-compatible one.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
