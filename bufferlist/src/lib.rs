//! A buffer list whose segments may be kernel pages, so that data moves between files and sockets
//! without being copied. Each operation reports truthfully whether its bytes were moved or copied.
//!
//! Linux can move pages by reference: out of files and sockets into pipes, from pipe to pipe, and
//! out into sockets and files again (splice(2), tee(2), vmsplice(2)). [`BufferList`] is a rope of
//! memory, file extents and kernel pages in pipes. It is cloned, split and joined by counting
//! references. Reading bytes that are in the kernel is an explicit call, a *peek*, and costs a
//! counted copy.
//!
//! ```
//! use bufferlist::{Sink, Source, transfer};
//! # use std::io::Write;
//! # let mut file = tempfile::tempfile()?;
//! # file.write_all(b"some bytes")?;
//! # let (socket, _peer) = std::os::unix::net::UnixStream::pair()?;
//!
//! let receipt = transfer(Source::file(&file, ..)?, Sink::stream(&socket)?)?;
//! println!("{} moved, {} copied, {} unknown", receipt.moved(), receipt.copied(), receipt.unknown());
//! # std::io::Result::Ok(())
//! ```
//!
//! Start with the [guide]. Then:
//!
//! | to | use |
//! |---|---|
//! | move everything from one endpoint to another | [`transfer()`], [`Transfer`] |
//! | hold, split, clone and join bytes | [`BufferList`], [`Segment`] |
//! | read from and write to files, sockets, pipes | [`Source`], [`Sink`], [`splice_from`](BufferList::splice_from), [`splice_to`](BufferList::splice_to) |
//! | read bytes without consuming them | [`peek`](BufferList::peek), [`View`] |
//! | find out whether it was zero-copy | [`Receipt`], [`Counts`], [`Reason`], [`oracle`] |
//! | bound the use of pipes | [`Pool`] |
//!
//! # Guarantees
//!
//! 1. [`BufferList`] is `Send + Sync + 'static` and has no type or lifetime parameter. Its rope
//!    operations make no system call, never block and never fail. Methods that take `&self` never
//!    change the content of a pipe; every method that consumes bytes takes `&mut self`.
//! 2. **No byte is lost.** Bytes that were not sent are still in the list, whatever failed. `Err`
//!    from a step means that no byte moved in that step. Only the loop, [`Transfer::run`], puts a
//!    receipt of the bytes delivered so far into its error; calling it again resumes the transfer.
//! 3. The descriptor of an endpoint belongs to the caller (`F: AsFd`, owned or borrowed). Neither
//!    its flags nor its file position are changed. All extents of one file share one descriptor.
//!    The length of an extent is an assumption that a later truncation of the file breaks:
//!    [`ErrorKind::Truncated`].
//! 4. Dropping never blocks. An empty pipe returns to its pool; any other pipe is closed, which
//!    releases its pages. Bytes in flight in a [`Transfer`] are dropped with it, unless
//!    [`into_parts`](Transfer::into_parts) takes them out.
//! 5. Only [`Pages`] are passed to the kernel by reference: they are sealed, and unmapped when the
//!    last reference is dropped. [`Bytes`](bytes::Bytes) never are, because their owner may reuse
//!    the allocation while a socket still holds its pages.
//! 6. Pages that come from a file belong to the file: they change when it is written to
//!    ([`Stability`]).
//! 7. A step never blocks. A blocking socket or pipe is rejected with [`ErrorKind::BlockingFd`];
//!    [`Transfer::run`] without a deadline accepts it.
//!
//! # Features
//!
//! `tokio`: transfers as futures, on tokio's own sockets and pipes (module `rt`). Off by default.
//!
//! # Requirements
//!
//! Linux 5.10 or newer, no privileges. The pairs of endpoints that share pages differ between
//! kernels, filesystems and devices. The library determines them by experiment and assumes nothing
//! ([`oracle`]). If an endpoint cannot be spliced, or no pipe is available, bytes are copied, and
//! the copy is counted with its reason.

#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("bufferlist moves bytes with splice(2), tee(2) and vmsplice(2), which only Linux has");

mod counts;
mod endpoint;
mod error;
mod fork_generation;
pub mod journal;
mod list;
pub mod oracle;
mod peek;
mod pipe;
mod range;
pub mod reason;
mod receipt;
#[cfg(feature = "tokio")]
pub mod rt;
mod segment;
mod step;
mod sync;
mod sys;
mod transfer;

pub use counts::{Count, Counts};
pub use endpoint::{EndpointKind, Nonblocking, Sink, Source};
pub use error::{Error, ErrorKind, Result};
pub use list::{BufferList, IntoIter};
pub use peek::{Alignment, Crc, PeekStrategy, View};
pub use pipe::{Pool, PoolStats};
pub use reason::Reason;
pub use receipt::Receipt;
pub use segment::{FileExtent, Hole, Pages, PagesMut, Segment, SegmentId, SegmentKind, Stability};
pub use step::{Side, Step};
pub use transfer::{Limits, Transfer, transfer};

#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

#[cfg(feature = "__fault")]
#[doc(hidden)]
pub use sys::{Call, fault};
