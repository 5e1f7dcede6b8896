//! What all paths share: the directory, the content, the source file, and the questions to the oracle.

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
use zctrace_report::text::printable;

use super::endpoints;
use super::payload::Content;

/// Why something could not run or be asked here, in words for the user.
#[derive(Clone, Debug)]
pub(crate) struct Cause(String);

impl Cause {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<bufferlist::Error> for Cause {
    fn from(error: bufferlist::Error) -> Self {
        Self(error.to_string())
    }
}

/// The slowest that a transfer may be before the demo gives up on it, in bytes per second.
const SLOWEST: u64 = 4 << 20;

/// Where the paths run.
pub(crate) struct Stage {
    dir: PathBuf,
    content: Content,
    source: Arc<OwnedFd>,
}

impl Stage {
    /// Makes the content and the source file, and shows the directory to the oracle.
    pub(crate) fn new(dir: PathBuf, size: u64) -> Result<Self, Cause> {
        let content = Content::new(size)?;
        let file = endpoints::unnamed_file(&dir)
            .map_err(|error| Cause::new(format!("no file can be made in {}: {error}", dir.display())))?;
        file.write_all_at(content.bytes(content.in_blocks()), 0)
            .map_err(|error| Cause::new(format!("{} cannot hold the data: {error}", dir.display())))?;
        // Receipts ask the oracle by themselves, which must have been shown a directory of this filesystem. If it cannot
        // answer, they say so: unknown.
        let _ = oracle::probe_in(&dir, EndpointKind::File, EndpointKind::Tcp);
        Ok(Self {
            dir,
            content,
            source: Arc::new(file.into()),
        })
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// What is sent.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The name of its files, for the report: they have none but their directory's.
    pub(crate) fn file_name(&self) -> String {
        format!("{}/(unnamed)", self.dir.display())
    }

    /// The first `len` bytes of the source file. Even one byte goes by splice: the demo shows what the kernel does, not what
    /// the library thinks worth while.
    pub(crate) fn source(&self, len: u64) -> Result<Source<&OwnedFd>, Cause> {
        self.part(0..len)
    }

    /// A part of the source file.
    pub(crate) fn part(&self, range: Range<u64>) -> Result<Source<&OwnedFd>, Cause> {
        Ok(Source::file(&*self.source, range)?.threshold(0))
    }

    /// The same as a segment, which goes to a socket by one sendfile(2).
    pub(crate) fn extent(&self, len: u64) -> Result<FileExtent, Cause> {
        Ok(FileExtent::new(Arc::clone(&self.source), ..len)?)
    }

    /// A new file to write to.
    pub(crate) fn file(&self) -> Result<File, Cause> {
        Ok(endpoints::unnamed_file(&self.dir)?)
    }

    /// A transfer of nothing but what is put before it.
    pub(crate) fn giver<D: AsFd>(&self, sink: Sink<D>) -> Result<Transfer<&OwnedFd, D>, Cause> {
        Ok(Transfer::new(self.source(0)?, sink).limits(self.limits()))
    }

    /// Moves everything from a source into a sink.
    pub(crate) fn pump<S: AsFd, D: AsFd>(&self, source: Source<S>, sink: Sink<D>) -> Result<Receipt, Cause> {
        Ok(Transfer::new(source, sink).limits(self.limits()).run()?)
    }

    /// Moves `len` bytes from a source into a sink.
    pub(crate) fn pump_some<S: AsFd, D: AsFd>(
        &self,
        source: Source<S>,
        sink: Sink<D>,
        len: u64,
    ) -> Result<Receipt, Cause> {
        Ok(Transfer::new(source, sink).limits(self.limits().len(len)).run()?)
    }

    /// Gives a list to a sink.
    pub(crate) fn give<D: AsFd>(&self, list: BufferList, sink: Sink<D>) -> Result<Receipt, Cause> {
        let mut giver = self.giver(sink)?;
        giver.prefix(list);
        Ok(giver.run()?)
    }

    /// Patience that grows with the size, so that a path which hangs ends as a cause and not as a hung demo.
    fn limits(&self) -> Limits {
        let seconds = 30 + self.content.len() / SLOWEST;
        Limits::default().deadline(Instant::now() + Duration::from_secs(seconds))
    }

    /// What the oracle says of a path of such ends, with a canary of its own.
    pub(crate) fn ask(&self, path: &[EndpointKind]) -> Result<Verdict, Cause> {
        Ok(oracle::probe_path(&self.dir, path)?)
    }
}
