//! Signals for the event loop.

use std::io;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::signals::{ReceivedSignal, is_ignored};

/// Handled signals. Signals that zctrace inherited as ignored (`nohup`) stay ignored.
#[derive(Debug)]
pub(crate) struct Signals {
    ends: Vec<(i32, Signal)>,
    stop: Option<Signal>,
    continued: Signal,
    resized: Signal,
}

/// Meaning of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SignalEvent {
    /// Requests the end.
    End(ReceivedSignal),
    /// Requests a stop (Ctrl-Z).
    Suspend,
    /// The size of the terminal changed, perhaps only for a moment.
    Resized,
}

impl Signals {
    /// Catches the signals from now on.
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

    /// Waits for the next signal. Several of one kind may be merged; no kind is lost.
    pub(crate) async fn next(&mut self) -> SignalEvent {
        std::future::poll_fn(|context| {
            use std::task::Poll;

            for (number, signal) in &mut self.ends {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(SignalEvent::End(ReceivedSignal {
                        signal: *number,
                        // The sender does not matter: a command in the pane is in another process
                        // group and has not received the signal.
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

    /// Discards an earlier request to continue.
    pub(crate) fn discard_continue(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while self.continued.poll_recv(&mut context).is_ready() {}
    }

    /// Waits for SIGCONT.
    pub(crate) async fn wait_for_continue(&mut self) {
        self.continued.recv().await;
    }
}
