//! How the loop does under load: 100,000 flows and 200,000 events a second, made up. Run it with
//! `cargo test --release -p zctrace --bin zctrace -- --ignored --nocapture load`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use futures_core::Stream;
use probes::report::{Account, Cause, Certificate, End, EndKind, Flow, Hop, Level, MadeFor, Report, Scope, ScopeKind};
use probes::report::{Shown, Station, StationKind, Tier};
use ratatui::layout::Size;
use tokio::time::Instant;

use super::event_loop::{Loop, Tty};
use super::feed::{Feed, Order, ROWS};
use super::keys::KeyMap;
use super::signals::Signals;
use super::state::{Appearance, State};
use super::terminal::Guard;
use super::theme::ThemeName;
use crate::session::{Begun, Request, Target};
use crate::trace::Tracer;
use crate::watch::{Subject, Times};

const FLOWS: u64 = 100_000;
/// Events of one poll, of which there are 200 a second.
const EVENTS: u64 = 1000;

/// A tracer of events that never were.
struct MadeUp {
    flows: Vec<Flow>,
    events: u64,
    started: std::time::Instant,
    counted: Arc<Mutex<Counted>>,
}

#[derive(Default)]
struct Counted {
    events: u64,
    reports: u64,
    longest_report: Duration,
}

impl MadeUp {
    fn new(counted: Arc<Mutex<Counted>>) -> Self {
        let flow = |number: u64| {
            let from = End::new(EndKind::File, format!("/srv/{}/video-{number}.mp4", number % 30_000));
            let mut to = End::new(EndKind::Tcp, format!("10.{}.{}.7:443", number % 200, number % 251));
            to.port = Some(443);
            let mut flow = Flow::new(from, to);
            flow.id = number + 1;
            flow.pid = Some(1000 + (number % 16) as u32);
            flow.process = "nginx".to_owned();
            let station = Station::new(StationKind::SkbFrag, flow.to.clone());
            let mut certificate = Certificate::new(Level::Full, "eth0", 4096);
            certificate
                .hops
                .push(Hop::new(station, "net_dev_start_xmit", Tier::T0, Shown::Identity, 4096));
            flow.certificate = Some(certificate);
            flow
        };
        Self {
            flows: (0..FLOWS).map(flow).collect(),
            events: 0,
            started: std::time::Instant::now(),
            counted,
        }
    }
}

impl Tracer for MadeUp {
    fn cookie(&self) -> u64 {
        0
    }

    fn poll(&mut self) {
        // As many as would have come by now, in steps of one poll: a poll that comes late has more to do.
        let due = self.started.elapsed().as_millis() as u64 / 5 * EVENTS;
        while self.events < due {
            // A prime, so that all flows have their turn.
            let number = (self.events * 7919) % FLOWS;
            let flow = &mut self.flows[number as usize];
            flow.calls += 1;
            let copied = if number.is_multiple_of(7) { 512 } else { 0 };
            let account = Account::new(flow.account.moved + 4096, flow.account.copied + copied, 0);
            flow.set_account(account);
            flow.copy_bytes = copied * flow.calls;
            if copied > 0 {
                flow.reasons = vec![Cause::new(
                    bufferlist::Reason::SmallWrite,
                    flow.account.copied,
                    flow.calls,
                )];
            }
            self.events += 1;
        }
        self.counted.lock().unwrap().events = self.events;
    }

    fn report(&mut self, max_rows: usize) -> Report {
        let began = std::time::Instant::now();
        self.poll();
        let mut report = Report::new(Tier::T0, Scope::new(ScopeKind::Machine));
        report.flows.clone_from(&self.flows);
        report.made_by.duration_ns = self.started.elapsed().as_nanos() as u64;
        report.finish(max_rows);
        let mut counted = self.counted.lock().unwrap();
        counted.reports += 1;
        counted.longest_report = counted.longest_report.max(began.elapsed());
        report
    }

    fn finish(mut self: Box<Self>, max_rows: usize) -> Report {
        self.report(max_rows)
    }
}

/// A terminal that counts frames and notes when one came.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(std::time::Instant, usize)>>>, usize);

impl Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A frame ends with a flush.
        if self.1 > 0 {
            self.0.lock().unwrap().push((std::time::Instant::now(), self.1));
            self.1 = 0;
        }
        Ok(())
    }
}

/// Keys, each at its time.
struct Keys {
    rest: VecDeque<(Instant, KeyEvent)>,
    pressed: Arc<Mutex<Vec<std::time::Instant>>>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Stream for Keys {
    type Item = io::Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(&(time, key)) = self.rest.front() else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(time)));
        match sleep.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.sleep = None;
                self.rest.pop_front();
                // When it was pressed, not when it was heard.
                self.pressed.lock().unwrap().push(time.into_std());
                Poll::Ready(Some(Ok(Event::Key(key))))
            }
        }
    }
}

#[test]
#[ignore = "measures; prints figures"]
#[allow(clippy::too_many_lines)] // One story.
fn load() {
    let seconds: u32 = 10;
    let counted = Arc::new(Mutex::new(Counted::default()));
    let request = Request {
        target: Target::Machine,
        user: None,
        follow: true,
        times: Times::default(),
        rows: ROWS,
        made_for: MadeFor::Run,
        btf: None,
        level: probes::report::Level::Full,
        record: None,
    };
    let before = resident();
    let made_up = Box::new(MadeUp::new(Arc::clone(&counted)));
    let without = resident();
    let begun = Begun {
        tracer: made_up,
        subject: Subject::Endless,
        named: Vec::new(),
        recording: None,
    };
    let feed = Feed::start(begun, Some(request)).unwrap();
    let appearance = Appearance {
        theme: ThemeName::Dark,
        ascii: false,
        true_colour: true,
    };
    let guard = Guard::for_tests();
    let seen = Seen::default();
    let pressed = Arc::new(Mutex::new(Vec::new()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let state = runtime.block_on(async {
        let started = Instant::now();
        let mut events = Loop {
            state: State::new(Arc::new(KeyMap::default()), appearance, Size::new(200, 60)),
            feed: &feed,
            pane: None,
            fps: 30,
            guard: &guard,
            started,
            cut: None,
        };
        // What moves, sorts, changes the view, filters and opens; 20 a second.
        let round = [
            'j', 'j', 'G', 'g', 's', 'S', '>', '<', '3', '2', '1', '5', '2', '/', 't', 'o', '=', 't', 'c', 'p', '\n',
            'j', '\u{1b}',
        ];
        let keys = (0..seconds * 20).map(|number| {
            let code = match round[number as usize % round.len()] {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            let at = started + Duration::from_secs(2) + Duration::from_millis(50) * number;
            (at, KeyEvent::new(code, KeyModifiers::NONE))
        });
        let mut rest: VecDeque<_> = keys.collect();
        let end = rest.back().unwrap().0 + Duration::from_millis(500);
        rest.push_back((end, KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        rest.push_back((
            end + Duration::from_millis(50),
            KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE),
        ));
        let keys = Keys {
            rest,
            pressed: Arc::clone(&pressed),
            sleep: None,
        };
        let tty = Tty {
            out: &|| seen.clone(),
            size: &|| Ok(Size::new(200, 60)),
        };
        events
            .run(&tty, || keys, Signals::catch().unwrap(), None)
            .await
            .unwrap();
        events.state
    });
    let with = resident();
    feed.order(Order::Enough);
    let rows = state.snapshot.as_ref().unwrap().report.flows.len();
    drop(feed.join());

    let frames = seen.0.lock().unwrap().clone();
    let pressed = pressed.lock().unwrap();
    // From a key to the end of the next frame. Keys that change nothing have none of their own, and get the one after.
    let mut lags: Vec<Duration> = pressed
        .iter()
        .filter_map(|&key| {
            frames
                .iter()
                .find(|(frame, _)| *frame > key)
                .map(|(frame, _)| *frame - key)
        })
        .collect();
    lags.sort_unstable();
    let at = |part: usize| lags[(lags.len() - 1) * part / 100];
    let mut gaps: Vec<Duration> = frames.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_unstable();
    let counted = counted.lock().unwrap();
    println!(
        "flows {FLOWS}, rows after folding {rows}, events {} ({} a second)",
        counted.events,
        counted.events / (u64::from(seconds) + 2)
    );
    println!(
        "reports {}, the longest took {:?}",
        counted.reports, counted.longest_report
    );
    println!(
        "frames {} of {} bytes at most, shortest gap {:?}",
        frames.len(),
        frames.iter().map(|frame| frame.1).max().unwrap_or(0),
        gaps.first()
    );
    println!(
        "lag of {} keys: median {:?}, 90 % {:?}, 99 % {:?}, longest {:?}",
        lags.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
    println!("resident: {before} MiB before, {without} with the made-up flows alone, {with} at the end");
    assert!(at(90) < Duration::from_millis(50), "90 % of keys are seen within 50 ms");
    assert!(
        gaps[gaps.len() / 100] > Duration::from_millis(25),
        "no more than 30 frames a second"
    );
}

/// Resident memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
