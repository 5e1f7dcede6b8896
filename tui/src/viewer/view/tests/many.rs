//! A hundred thousand flows: the time of a snapshot, a key and a frame. Times are printed and not
//! asserted, because a busy machine is not a defect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zctrace_report::{Account, Endpoint, EndpointKind, Flow, Report, Scope, Tier};

use super::{new_state, render_to_buffer, typed};
use crate::viewer::keys::Command;
use crate::viewer::state::{Action, View};
use crate::viewer::theme::ThemeName;

const MANY: u64 = 100_000;

fn report(step: u64) -> Report {
    let mut report = Report::new(Tier::T0, Scope::default());
    report.flows = (0..MANY)
        .map(|number| {
            let mut to = Endpoint::new(
                EndpointKind::Tcp,
                format!("10.0.{}.{}:40{number:05}", number >> 8 & 255, number & 255),
            );
            to.port = Some(if number % 3 == 0 { 443 } else { 80 });
            let mut flow = Flow::new(
                Endpoint::new(EndpointKind::File, format!("/srv/video/{number}.mp4")),
                to,
            );
            flow.id = number + 1;
            flow.process = format!("worker-{}", number % 16);
            flow.pid = Some((number % 16) as u32 + 1);
            flow.set_account(Account::new(number * 4096 + step, number % 7 * 100, 0));
            flow
        })
        .collect();
    report.summarize();
    report
}

#[test]
fn handles_a_hundred_thousand_flows() {
    let (first, second) = (Arc::new(report(1)), Arc::new(report(4096)));
    let mut state = new_state((120, 40), ThemeName::Dark, false);
    let mut said = Vec::new();
    let mut timed = |what: &str, state: &mut crate::viewer::state::State, action: &mut dyn FnMut(&mut _)| {
        let start = Instant::now();
        action(state);
        said.push(format!("{what} {:.1} ms", start.elapsed().as_secs_f64() * 1000.0));
    };
    let second_of = Duration::from_secs;
    state.apply(Action::Do(Command::Show(View::Flows)), second_of(0));
    timed("first snapshot", &mut state, &mut |state| {
        state.apply(Action::snapshot(first.clone()), second_of(1));
    });
    timed("next snapshot", &mut state, &mut |state| {
        state.apply(Action::snapshot(second.clone()), second_of(2));
    });
    timed("a frame", &mut state, &mut |state| {
        render_to_buffer(state);
    });
    timed("to the last row", &mut state, &mut |state| {
        state.apply(Action::Do(Command::Bottom), second_of(3));
    });
    timed("a frame there", &mut state, &mut |state| {
        render_to_buffer(state);
    });
    assert_eq!(state.rows().len() as u64, MANY);
    assert_eq!(state.table().cursor as u64, MANY - 1);
    timed("sort by another column", &mut state, &mut |state| {
        state.apply(Action::Do(Command::SortLeft), second_of(4));
    });
    timed(
        "a filter of 8 characters, derived at each that makes one",
        &mut state,
        &mut |state| typed(state, "port=443"),
    );
    assert_eq!(state.rows().len() as u64, MANY.div_ceil(3));
    state.apply(Action::Cancel, second_of(5));
    timed("the map", &mut state, &mut |state| {
        state.apply(Action::Do(Command::Show(View::Map)), second_of(5));
    });
    // 16 workers, two services.
    assert_eq!(state.rows().len(), 32);
    timed("the reasons", &mut state, &mut |state| {
        state.apply(Action::Do(Command::Show(View::Reasons)), second_of(5));
    });
    println!("{MANY} flows: {}", said.join(", "));
}
