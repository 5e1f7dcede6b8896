//! The tracer as the command line sees it: it is started, told whom to follow, polled, and asked for reports.

use std::path::PathBuf;

use probes::report::{Report, Scope};

/// What is watched.
#[derive(Clone, Debug)]
#[allow(dead_code)] // For the tracer, which does not read it yet.
pub(crate) struct Options {
    /// Whose bytes, as the report will say.
    pub(crate) scope: Scope,
    /// How they are told from all others.
    pub(crate) how: How,
    /// Whether descendants are watched too, those of now and of later.
    pub(crate) follow: bool,
}

/// How the watched processes are told from all others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// These processes. A command that has yet to start is added by [`Tracer::follow`].
    Tree(Vec<u32>),
    /// The processes of a control group and of those below it.
    Cgroup(PathBuf),
    /// All.
    Machine,
}

/// Why tracing could not be set up, and what would mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SetupError {
    /// What is wrong, as a sentence without its full stop.
    pub(crate) cause: String,
    /// What to do, as a command where there is one.
    pub(crate) mend: String,
}

/// A tracer that is attached. Dropping it detaches it.
pub(crate) trait Tracer {
    /// Watches this process too, from now on.
    fn follow(&mut self, pid: u32) -> Result<(), SetupError>;

    /// Takes in what the kernel has recorded. To be called every 5 ms.
    fn poll(&mut self);

    /// What is known so far, in at most `max_rows` rows.
    fn report(&mut self, max_rows: usize) -> Report;

    /// Detaches, waits for data in flight (half a second at most), and tells all that is known.
    fn finish(self: Box<Self>, max_rows: usize) -> Report;
}

/// Attaches a tracer.
pub(crate) fn start(_: &Options) -> Result<Box<dyn Tracer>, SetupError> {
    Err(SetupError {
        cause: "this build of zctrace has no probes yet".to_owned(),
        mend: "`zctrace demo` shows real paths with the library's own account, without probes".to_owned(),
    })
}
