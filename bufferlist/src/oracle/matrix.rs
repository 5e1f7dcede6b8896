//! Table of the oracle's verdicts for every source and sink on this kernel.

use super::Verdict;
use super::experiment::{Destination, Experiment, Hop};
use crate::endpoint::EndpointKind;
use crate::error::Error;
use std::fmt;
use std::path::Path;

/// Sources, one for each row.
const SOURCES: [EndpointKind; 4] = [
    EndpointKind::File,
    EndpointKind::Tmpfs,
    EndpointKind::DirectFile,
    EndpointKind::Memory,
];

/// Column of the [`Matrix`]: the destination of the page, and the stations before it.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SinkColumn {
    /// Into a pipe.
    Pipe,
    /// Into a pipe and on into another.
    PipeToPipe,
    /// Into a pipe, and by tee(2) into another.
    Tee,
    /// Into a memfd.
    Memfd,
    /// Into a file through the page cache.
    File,
    /// Into a file opened with `O_DIRECT`.
    DirectFile,
    /// Over TCP on loopback, modified before it is received.
    TcpReceived,
    /// Over TCP on loopback into a pipe.
    TcpToPipe,
    /// Over a UNIX socket into a pipe.
    UnixToPipe,
    /// Over UDP on loopback.
    Udp,
}

impl SinkColumn {
    /// All columns, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Pipe,
        Self::PipeToPipe,
        Self::Tee,
        Self::Memfd,
        Self::File,
        Self::DirectFile,
        Self::TcpReceived,
        Self::TcpToPipe,
        Self::UnixToPipe,
        Self::Udp,
    ];

    /// Returns the heading.
    ///
    /// ```
    /// assert_eq!(bufferlist::oracle::SinkColumn::TcpToPipe.name(), "TCP→pipe");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::PipeToPipe => "pipe→pipe",
            Self::Tee => "tee",
            Self::Memfd => "memfd",
            Self::File => "file",
            Self::DirectFile => "direct",
            Self::TcpReceived => "TCP",
            Self::TcpToPipe => "TCP→pipe",
            Self::UnixToPipe => "UNIX→pipe",
            Self::Udp => "UDP",
        }
    }

    /// Returns the stations and the destination.
    const fn route(self) -> (&'static [Hop], Destination) {
        match self {
            Self::Pipe => (&[], Destination::LastPipe),
            Self::PipeToPipe => (&[Hop::Pipe], Destination::LastPipe),
            Self::Tee => (&[Hop::Tee], Destination::LastPipe),
            Self::Memfd => (&[], Destination::Memfd),
            Self::File => (&[], Destination::File),
            Self::DirectFile => (&[], Destination::DirectFile),
            Self::TcpReceived => (&[], Destination::Tcp),
            Self::TcpToPipe => (&[Hop::Tcp], Destination::LastPipe),
            Self::UnixToPipe => (&[Hop::Unix], Destination::LastPipe),
            Self::Udp => (&[], Destination::Udp),
        }
    }
}

/// Table of the pairs of endpoints that share pages on this kernel.
///
/// ```
/// use bufferlist::EndpointKind;
/// use bufferlist::oracle::{SinkColumn, Matrix, Verdict};
///
/// let matrix = Matrix::probe(std::env::temp_dir());
/// assert_eq!(matrix.get(EndpointKind::Tmpfs, SinkColumn::TcpToPipe), Some(Verdict::Shared));
/// println!("{matrix}");
/// ```
#[derive(Debug)]
pub struct Matrix {
    kernel: String,
    cells: Vec<(EndpointKind, SinkColumn, Result<Verdict, Error>)>,
}

impl Matrix {
    /// Runs an experiment for every pair, with files in `dir`. A pair whose experiment cannot run
    /// here (a filesystem without direct I/O, a system without sockets) is a cell without a
    /// verdict, not an error.
    ///
    /// ```
    /// # use bufferlist::oracle::Matrix;
    /// assert!(Matrix::probe(std::env::temp_dir()).cells().count() >= 40);
    /// ```
    pub fn probe(dir: impl AsRef<Path>) -> Self {
        let dir = dir.as_ref();
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut cells = Vec::new();
        for from in SOURCES {
            for column in SinkColumn::ALL {
                let (hops, to) = column.route();
                let verdict = Experiment {
                    from,
                    from_dir: dir,
                    hops,
                    to,
                    to_dir: dir,
                }
                .run();
                cells.push((from, column, verdict));
            }
        }
        Self { kernel, cells }
    }

    /// Returns the verdict for a pair; `None` if its experiment failed.
    ///
    /// ```
    /// # use bufferlist::{EndpointKind, oracle::{SinkColumn, Matrix, Verdict}};
    /// let matrix = Matrix::probe(std::env::temp_dir());
    /// assert_eq!(matrix.get(EndpointKind::Tmpfs, SinkColumn::Memfd), Some(Verdict::Private));
    /// ```
    pub fn get(&self, from: EndpointKind, column: SinkColumn) -> Option<Verdict> {
        let cell = self.cells.iter().find(|cell| cell.0 == from && cell.1 == column)?;
        cell.2.as_ref().ok().copied()
    }

    /// Returns an iterator over all pairs with their verdicts, or the errors of their experiments.
    ///
    /// ```
    /// # use bufferlist::oracle::Matrix;
    /// for (from, column, answer) in Matrix::probe(std::env::temp_dir()).cells() {
    ///     println!("{} to {}: {answer:?}", from.name(), column.name());
    /// }
    /// ```
    pub fn cells(&self) -> impl Iterator<Item = (EndpointKind, SinkColumn, &Result<Verdict, Error>)> {
        self.cells
            .iter()
            .map(|(from, column, verdict)| (*from, *column, verdict))
    }

    /// Returns the release of the kernel that the verdicts are valid for.
    ///
    /// ```
    /// # use bufferlist::oracle::Matrix;
    /// println!("on kernel {}", Matrix::probe(std::env::temp_dir()).kernel());
    /// ```
    pub fn kernel(&self) -> &str {
        &self.kernel
    }
}

/// Formats one row for each source and one column for each sink.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}", "from \\ to")?;
        for column in SinkColumn::ALL {
            write!(f, " {:<9}", column.name())?;
        }
        writeln!(f)?;
        for from in SOURCES {
            write!(f, "{:<12}", from.name())?;
            for column in SinkColumn::ALL {
                write!(f, " {:<9}", self.get(from, column).map_or("-", Verdict::name))?;
            }
            writeln!(f)?;
        }
        write!(f, "kernel {}", self.kernel)
    }
}
