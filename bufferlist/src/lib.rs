//! A buffer list whose pieces may be kernel pages, so that data moves between files and sockets without being copied, and
//! that says truthfully whether it did.
//!
//! Linux can move pages by reference: out of files and sockets into pipes, from pipe to pipe, and out into sockets and
//! files again (splice(2), tee(2), vmsplice(2)). [`BufferList`] makes a buffer of that: a rope of memory, parts of files
//! and kernel pages in pipes, which is cloned, cut and put together by counting references. What has to be *looked* at is
//! asked for by name, and costs a counted copy.
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
//! | you want to | you use |
//! |---|---|
//! | move everything from one end to another | [`transfer`], [`Transfer`] |
//! | hold, cut, clone and join bytes | [`BufferList`], [`Segment`] |
//! | take from and give to files, sockets, pipes | [`Source`], [`Sink`], [`splice_from`](BufferList::splice_from), [`splice_to`](BufferList::splice_to) |
//! | look at some of them | [`peek`](BufferList::peek), [`View`] |
//! | know whether it was zero-copy | [`Receipt`], [`Counts`], [`Reason`], [`oracle`] |
//! | bound what it uses | [`Pool`] |
//!
//! # The rules
//!
//! 1. [`BufferList`] is `Send + Sync + 'static` and has no type or lifetime parameter. Its rope operations make no system
//!    call, never wait and never fail. Methods that take `&self` never change what is in a pipe; all that consumes takes
//!    `&mut self`.
//! 2. **No byte is lost.** What was not sent is still in the list, whatever failed. `Err` from a step means that nothing
//!    moved in that step; only the loop, [`Transfer::run`], puts a receipt of what had arrived into its error, and calling
//!    it again goes on.
//! 3. The descriptor of an end belongs to you (`F: AsFd`, owned or borrowed), and neither its flags nor its position are
//!    touched. All extents of one file share one descriptor. The length of an extent is a promise that the file can break:
//!    [`ErrorKind::Truncated`].
//! 4. Dropping never waits. An empty pipe goes back to its pool, any other is closed and its pages are let go. What is in
//!    flight in a [`Transfer`] is dropped with it; [`into_parts`](Transfer::into_parts) saves it.
//! 5. Memory that is lent to the kernel is only ever [`Pages`]: sealed, and unmapped when the last holder lets go. Never
//!    [`Bytes`](bytes::Bytes), whose owner may use the allocation again while a socket still holds its pages.
//! 6. Pages that come from a file are the file's: they change when it is written to ([`Stability`]).
//! 7. A step never waits. A blocking socket or pipe is refused by [`ErrorKind::BlockingFd`]; [`Transfer::run`] without a
//!    deadline takes it.
//!
//! # Features
//!
//! `tokio`: transfers as futures, on tokio's own sockets and pipes (module `rt`). Off by default.
//!
//! # Requirements
//!
//! Linux 5.10 or newer, no privileges. Which pairs of ends share pages differs between kernels, filesystems and devices:
//! it is asked, not assumed ([`oracle`]). Where something cannot be spliced, or no pipe is to be had, bytes are copied,
//! counted, with the reason.

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
