//! The evidence engine with its recorder and its symbols.

use zctrace_evidence::{Engine, Input, Recorder, TraceHeader};

use super::anonymize::Anonymizer;
use super::symbols::Symbols;
use crate::probe::SetupError;

/// Constructor of a recorder, called with the header of the trace.
pub(super) type MakeRecorder<'a> = Box<dyn FnOnce(&TraceHeader) -> Result<Box<dyn Recorder>, SetupError> + 'a>;

/// Engine, recorder of its inputs, and resolver of its call sites.
#[derive(Debug)]
pub(super) struct EngineDriver {
    pub(super) engine: Engine,
    symbols: Symbols,
    recorder: Option<(Anonymizer, Box<dyn Recorder>)>,
}

impl EngineDriver {
    /// Creates the engine. The recorder, if any, is made when the header is known.
    ///
    /// # Errors
    ///
    /// As `recorder`.
    pub(super) fn new(mut header: TraceHeader, recorder: Option<MakeRecorder<'_>>) -> Result<Self, SetupError> {
        let recorder = match recorder {
            Some(make) => {
                let anonymizer = Anonymizer::new();
                header.config.pipe_buf_ops = anonymizer.pipe_buf_ops(&header.config.pipe_buf_ops);
                Some((anonymizer, make(&header)?))
            }
            None => None,
        };
        Ok(Self {
            engine: Engine::new(header),
            symbols: Symbols::default(),
            recorder,
        })
    }

    /// Feeds an input into the engine and, before that, into the recorder. This is the only way
    /// into the engine, so a recording contains exactly its inputs.
    pub(super) fn feed(&mut self, input: Input<'_>) {
        match (&mut self.recorder, input) {
            (Some((anonymizer, recorder)), Input::Record(bytes)) => {
                let input = Input::Record(anonymizer.record(bytes));
                recorder.take(&input);
                self.engine.take(input);
            }
            (Some((anonymizer, recorder)), Input::OpenDigests(rows)) => {
                let rows = anonymizer.digests(rows);
                recorder.take(&Input::OpenDigests(&rows));
                self.engine.take(Input::OpenDigests(&rows));
            }
            (Some((_, recorder)), input) => {
                recorder.take(&input);
                self.engine.take(input);
            }
            (None, input) => self.engine.take(input),
        }
        for request in self.engine.take_symbol_requests() {
            let call_site = self.symbols.resolve(request);
            let answer = Input::Symbol(request, call_site.as_ref());
            if let Some((_, recorder)) = &mut self.recorder {
                recorder.take(&answer);
            }
            self.engine.take(answer);
        }
    }
}
