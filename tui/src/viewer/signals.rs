//! Signals, for the loop.

use std::io;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::signals::{ReceivedSignal, is_ignored};

/// The signals that are waited for. What zctrace was told to ignore (`nohup`) it goes on to ignore.
#[derive(Debug)]
pub(crate) struct Signals {
    ends: Vec<(i32, Signal)>,
    stop: Option<Signal>,
    continued: Signal,
    resized: Signal,
}

/// What a signal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SignalEvent {
    /// It asks to end.
    End(ReceivedSignal),
    /// It asks to stop for a while.
    Suspend,
    /// The terminal has another size, or had one for a moment.
    Resized,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let is_handled = |number: &i32| !is_ignored(*number);
        let listen = |number: i32| signal(SignalKind::from_raw(number));
        let ends = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        Ok(Self {
            ends: ends
                .into_iter()
                .filter(is_handled)
                .map(|number| Ok((number, listen(number)?)))
                .collect::<io::Result<_>>()?,
            stop: Some(SIGTSTP).filter(is_handled).map(listen).transpose()?,
            continued: listen(SIGCONT)?,
            resized: listen(SIGWINCH)?,
        })
    }

    /// The next signal. Several of one kind may be one; none is forgotten.
    pub(crate) async fn next(&mut self) -> SignalEvent {
        std::future::poll_fn(|context| {
            use std::task::Poll;

            for (number, signal) in &mut self.ends {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(SignalEvent::End(ReceivedSignal {
                        signal: *number,
                        // Whoever sent it: a command in a pane is not in our group and has not got it.
                        by_kernel: false,
                    }));
                }
            }
            if let Some(stop) = &mut self.stop
                && stop.poll_recv(context).is_ready()
            {
                return Poll::Ready(SignalEvent::Suspend);
            }
            self.resized.poll_recv(context).map(|_| SignalEvent::Resized)
        })
        .await
    }

    /// Forgets what said to go on before.
    pub(crate) fn discard_continue(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while self.continued.poll_recv(&mut context).is_ready() {}
    }

    /// Waits until somebody says to go on.
    pub(crate) async fn wait_for_continue(&mut self) {
        self.continued.recv().await;
    }
}
