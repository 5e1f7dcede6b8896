//! placeholder
#![deny(missing_docs)]
#[cfg(not(target_os = "linux"))]
compile_error!("bufferlist moves bytes with splice(2), tee(2) and vmsplice(2), which only Linux has");

mod counts;
mod ends;
mod error;
mod list;
mod look;
mod moving;
pub mod oracle;
mod outcome;
mod pipe;
mod range;
pub mod reason;
mod segment;
mod sync;
mod sys;

pub use counts::{Count, Counts};
pub use ends::{EndKind, Nonblocking, Sink, Source};
pub use error::{Error, ErrorKind, Result};
pub use list::BufferList;
pub use look::{Alignment, Crc, Strategy, View};
pub use moving::{Limits, Transfer, transfer};
pub use outcome::{Receipt, Side, Step};
pub use pipe::{Pool, PoolStats};
pub use reason::Reason;
pub use segment::{FileExtent, Hole, Pages, PagesMut, Segment, SegmentId, SegmentKind, Stability};

#[cfg(feature = "__fault")]
#[doc(hidden)]
pub use sys::{Call, fault};
