//! Environment that all paths share: the directory, the payload, the source file, and the oracle.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bufferlist::oracle::{self, Verdict};
use bufferlist::{BufferList, EndpointKind, FileExtent, Limits, Receipt, Sink, Source, Transfer};
use zctrace_report::format::printable;

use super::endpoints;
use super::payload::Payload;

/// Why a path could not run or the oracle could not be asked, in words for the user.
#[derive(Clone, Debug)]
pub(crate) struct DemoError(String);

impl DemoError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<bufferlist::Error> for DemoError {
    fn from(error: bufferlist::Error) -> Self {
        Self(error.to_string())
    }
}

/// Slowest transfer that the demo accepts, in bytes per second.
const MIN_BYTES_PER_SECOND: u64 = 4 << 20;

/// Environment that the paths run in.
pub(crate) struct Fixture {
    dir: PathBuf,
    payload: Payload,
    source: Arc<OwnedFd>,
}

impl Fixture {
    /// Creates the payload and the source file, and probes the directory with the oracle.
    pub(crate) fn new(dir: PathBuf, size: u64) -> Result<Self, DemoError> {
        let payload = Payload::new(size)?;
        let file = endpoints::unnamed_file(&dir)
            .map_err(|error| DemoError::new(format!("no file can be created in {}: {error}", dir.display())))?;
        file.write_all_at(payload.bytes(payload.in_blocks()), 0)
            .map_err(|error| DemoError::new(format!("{} cannot hold the data: {error}", dir.display())))?;
        // Receipts ask the oracle by themselves, and it must know a directory of this filesystem.
        // If it cannot answer, the receipts say unknown.
        let _ = oracle::probe_in(&dir, EndpointKind::File, EndpointKind::Tcp);
        Ok(Self {
            dir,
            payload,
            source: Arc::new(file.into()),
        })
    }

    /// Returns the directory.
    pub(crate) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Returns the payload.
    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns the name of the unnamed files in the report, which is that of their directory.
    pub(crate) fn file_name(&self) -> String {
        format!("{}/(unnamed)", self.dir.display())
    }

    /// Returns the first `len` bytes of the source file. Even one byte is spliced, because the demo
    /// shows what the kernel does, not what the library considers worthwhile.
    pub(crate) fn source(&self, len: u64) -> Result<Source<&OwnedFd>, DemoError> {
        self.part(0..len)
    }

    /// Returns a range of the source file.
    pub(crate) fn part(&self, range: Range<u64>) -> Result<Source<&OwnedFd>, DemoError> {
        Ok(Source::file(&*self.source, range)?.threshold(0))
    }

    /// Returns the first `len` bytes of the source file as a segment, which goes to a socket by one
    /// sendfile(2).
    pub(crate) fn extent(&self, len: u64) -> Result<FileExtent, DemoError> {
        Ok(FileExtent::new(Arc::clone(&self.source), ..len)?)
    }

    /// Creates a file to write to.
    pub(crate) fn file(&self) -> Result<File, DemoError> {
        Ok(endpoints::unnamed_file(&self.dir)?)
    }

    /// Returns a transfer of nothing but its prefix.
    pub(crate) fn sender<D: AsFd>(&self, sink: Sink<D>) -> Result<Transfer<&OwnedFd, D>, DemoError> {
        Ok(Transfer::new(self.source(0)?, sink).limits(self.limits()))
    }

    /// Transfers everything from a source into a sink.
    pub(crate) fn transfer<S: AsFd, D: AsFd>(&self, source: Source<S>, sink: Sink<D>) -> Result<Receipt, DemoError> {
        Ok(Transfer::new(source, sink).limits(self.limits()).run()?)
    }

    /// Transfers `len` bytes from a source into a sink.
    pub(crate) fn transfer_len<S: AsFd, D: AsFd>(
        &self,
        source: Source<S>,
        sink: Sink<D>,
        len: u64,
    ) -> Result<Receipt, DemoError> {
        Ok(Transfer::new(source, sink).limits(self.limits().len(len)).run()?)
    }

    /// Sends a list to a sink.
    pub(crate) fn send<D: AsFd>(&self, list: BufferList, sink: Sink<D>) -> Result<Receipt, DemoError> {
        let mut sender = self.sender(sink)?;
        sender.prefix(list);
        Ok(sender.run()?)
    }

    /// Returns a deadline that grows with the size, so that a path that hangs ends with an error
    /// instead of a hung demo.
    fn limits(&self) -> Limits {
        let seconds = 30 + self.payload.len() / MIN_BYTES_PER_SECOND;
        Limits::default().deadline(Instant::now() + Duration::from_secs(seconds))
    }

    /// Asks the oracle about a path of these kinds, with a canary of its own.
    pub(crate) fn ask_oracle(&self, path: &[EndpointKind]) -> Result<Verdict, DemoError> {
        Ok(oracle::probe_path(&self.dir, path)?)
    }
}
