//! The programs of tier T0: raw tracepoints that write down where bytes are, as addresses and lengths, never contents.
//!
//! All of kernel memory is read by `bpf_probe_read_kernel`: pointers typed by the kernel's BTF would be faster, but
//! which of them may be followed changes from kernel to kernel. Where members are is told by the user side, see
//! [`offsets`].
//!
//! | file | programs |
//! |---|---|
//! | [`sys_enter`], [`sys_exit`] | `sys_enter`, `sys_exit`: calls that move bytes, and plain ones, which are counted |
//! | [`tcp_packet`] | `net_dev_start_xmit`, `inet_sock_set_state`: packets of watched connections, and their ends |
//! | [`unix_message`] | `consume_skb`, `kfree_skb`: messages of watched UNIX sockets |
//! | [`block_io`] | `block_bio_queue`, `writeback_dirty_folio`: what a call does to a disk and to the page cache |
//! | [`process`] | `sched_process_fork`, `sched_process_exec`, `sched_process_exit`, `task_rename`: who is traced |
//! | [`iter_task_file`] | `task_file`, an iterator: what traced processes have open when watching begins |
//! | [`zerocopy_completion`] | `io_uring_complete`, and parts of others: what the kernel tells of sends without copies |
//! | [`digest`] | `sock_send_length`, `sums_of_packets`, `sums_at_end`: sums over pages instead of records, without any hook of system calls |

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[macro_use]
mod scratch;

mod accumulator;
mod block_io;
mod digest;
mod emit;
mod endpoint;
mod endpoint_name;
mod ids;
mod in_flight;
mod io_counters;
mod iter_task_file;
mod offsets;
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

/// Makes programs of functions that take the context of a raw tracepoint.
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
    /// A system call is entered: `regs`, `id`.
    fn sys_enter(ctx) {
        sys_enter::run(ctx.arg(0), ctx.arg(1));
    }

    /// A system call returns: `regs`, `ret`.
    fn sys_exit(ctx) {
        sys_exit::run(&ctx);
    }

    /// The second half of `sys_exit`, which goes on here by a tail call, several times for large rings: each time the
    /// verifier has but a few slots to look at.
    fn tail_pipe_slots(ctx) {
        sys_exit::continue_slots(&ctx);
    }

    /// A packet is given to a network device: `skb`, `dev`.
    fn net_dev_start_xmit(ctx) {
        tcp_packet::on_xmit(&ctx);
    }

    /// The second half of `net_dev_start_xmit`, which goes on here by a tail call for packets of many fragments.
    fn tail_skb_frags(ctx) {
        tcp_packet::continue_frags(&ctx);
    }

    /// A TCP connection changes its state: `sk`, `oldstate`, `newstate`.
    fn inet_sock_set_state(ctx) {
        tcp_packet::on_state_change(ctx.arg(0), ctx.arg(2));
    }

    /// A packet or message has been used up: `skb` (later kernels pass more).
    fn consume_skb(ctx) {
        unix_message::on_skb_freed(ctx.arg(0), false);
    }

    /// A packet or message is thrown away: `skb` (later kernels pass more).
    fn kfree_skb(ctx) {
        unix_message::on_skb_freed(ctx.arg(0), true);
    }

    /// A request goes to a disk's queue: `bio` (5.10: another prototype, with which it must not be attached).
    fn block_bio_queue(ctx) {
        block_io::on_bio_queue(&ctx);
    }

    /// The second half of `block_bio_queue`, which goes on here by a tail call, once for each record.
    fn tail_bio_vecs(ctx) {
        block_io::emit_vectors(&ctx);
    }

    /// Pages of a file become dirty: `folio`, `mapping`.
    fn writeback_dirty_folio(ctx) {
        block_io::on_folio_dirtied(ctx.arg(0), ctx.arg(1));
    }

    /// A thread takes another name: `task`, `comm`.
    fn task_rename(ctx) {
        process::on_rename(ctx.arg(0), ctx.arg(1));
    }

    /// A call has handed bytes to a socket: `sk`, `ret`, `flags` (which are always 0).
    fn sock_send_length(ctx) {
        digest::on_send(ctx.arg(0), ctx.arg(1));
    }

    /// At `net_dev_start_xmit`, where sums are kept instead of records: `skb`, `dev`.
    fn digest_xmit(ctx) {
        digest::on_xmit(ctx.arg(0));
    }

    /// At `inet_sock_set_state`, where sums are kept instead of records: `sk`, `oldstate`, `newstate`.
    fn digest_close(ctx) {
        digest::on_close(ctx.arg(0), ctx.arg(2));
    }

    /// `io_uring` has completed a request: `ctx`, `req`, and `cqe` or what is in it (before 6.15 `user_data`, `res`, `cflags`).
    fn io_uring_complete(ctx) {
        let (result, flags) = if offsets::CQE_BY_ADDRESS.load() == 1 {
            // struct io_uring_cqe (`include/uapi/linux/io_uring.h`): 8 bytes of the user's come first.
            let [result, flags] = read::kernel::<[u32; 2]>(ctx.arg::<u64>(2).wrapping_add(8));
            (result, flags)
        } else {
            (ctx.arg::<u64>(3) as u32, ctx.arg::<u64>(4) as u32)
        };
        zerocopy_completion::on_io_uring_complete(ctx.arg(1), result, flags);
    }

    /// A process or thread is made: `parent`, `child`.
    fn sched_process_fork(ctx) {
        process::on_fork(ctx.arg(0), ctx.arg(1));
    }

    /// A process becomes another program: `task`, the number that its thread had before (and more).
    fn sched_process_exec(ctx) {
        process::on_exec(ctx.arg(0), ctx.arg(1));
    }

    /// A thread ends: `task` (later kernels pass more).
    fn sched_process_exit(ctx) {
        process::on_exit(ctx.arg(0));
    }
}

/// Shows descriptors one by one. `aya-ebpf` has no attribute for iterators: the section is what makes it one.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub(crate) extern "C" fn task_file(context: *const iter_task_file::IterContext) -> i32 {
    // SAFETY: the kernel gives this program a context of this form; its pointers are only taken as numbers.
    let (task, fd, file) = unsafe { ((*context).task, (*context).fd as u32, (*context).file) };
    iter_task_file::visit(read::opaque(task), fd, read::opaque(file))
}

/// Helpers and kernel memory can be used by GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
