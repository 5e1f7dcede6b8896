//! Signals, for the loop.

use std::io;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::signals::{Caught, is_ignored};

/// The signals that are waited for. What zctrace was told to ignore (`nohup`) it goes on to ignore.
#[derive(Debug)]
pub(crate) struct Signals {
    ends: Vec<(i32, Signal)>,
    stop: Option<Signal>,
    go_on: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let heeded = |number: &i32| !is_ignored(*number);
        let listen = |number: i32| signal(SignalKind::from_raw(number));
        let ends = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        Ok(Self {
            ends: ends
                .into_iter()
                .filter(heeded)
                .map(|number| Ok((number, listen(number)?)))
                .collect::<io::Result<_>>()?,
            stop: Some(SIGTSTP).filter(heeded).map(listen).transpose()?,
            go_on: listen(SIGCONT)?,
        })
    }

    /// The next signal that asks to end; `None` for one that asks to stop for a while.
    pub(crate) async fn next(&mut self) -> Option<Caught> {
        std::future::poll_fn(|context| {
            use std::task::Poll;

            for (number, signal) in &mut self.ends {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(Some(Caught {
                        signal: *number,
                        // Whoever sent it: a command in a pane is not in our group and has not got it.
                        by_kernel: false,
                    }));
                }
            }
            match &mut self.stop {
                Some(stop) => stop.poll_recv(context).map(|_| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Forgets what said to go on before.
    pub(crate) fn forget_continue(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while self.go_on.poll_recv(&mut context).is_ready() {}
    }

    /// Waits until somebody says to go on.
    pub(crate) async fn continued(&mut self) {
        self.go_on.recv().await;
    }
}
