//! Tests with the committed recordings: every later version must read them, and arbitrary changes
//! of their records must yield a report and no panic.
//!
//! `send-1.0.zct` is a recording of a program that sends 256 KiB of a file over TCP by sendfile(2),
//! by splice(2) through a pipe, and by write(2). `send-1.0.json` is its report. If a change of the
//! engine changes the report, update it with `UPDATE_EXPECT=1 cargo test -p zctrace-recording
//! --test compat`, and read the difference.

use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use zctrace_evidence::{Engine, Input, TraceHeader};
use zctrace_recording::{Reader, Replay};
use zctrace_records::decode::{Record, RecordRef};
use zctrace_records::{Call, MAPPING_NOT_READ, PageRange, PageRecord, PageRun, RecordHeader, station_kind};
use zctrace_report::{EndpointKind, Report};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat").join(name)
}

fn played() -> Replay {
    let mut replay = Replay::open(path("send-1.0.zct")).expect("a recording");
    replay.play_to_end();
    assert_eq!(replay.truncation(), None);
    replay
}

#[test]
fn recording_of_version_1_0_yields_the_committed_report() {
    let report = played().report(30);
    let expected = path("send-1.0.json");
    if test_support::is_updating() {
        fs::write(&expected, report.to_json_pretty() + "\n").expect("it can be written");
    }
    // Members of the report that were added later get their default.
    let expected = Report::from_json(&fs::read_to_string(&expected).expect("it is there")).expect("a report");
    assert!(
        report == expected,
        "it says something else: bless it and read the difference"
    );
    assert_eq!(report.check(), Ok(()));
    let totals_to = |to: &EndpointKind| {
        let flows = report.flows.iter().filter(|flow| flow.to.kind == *to);
        flows.fold((0, 0, 0), |sum, flow| {
            (
                sum.0 + flow.account.moved,
                sum.1 + flow.account.copied,
                sum.2 + flow.account.unknown,
            )
        })
    };
    assert_eq!(totals_to(&EndpointKind::Tcp), (512 << 10, 256 << 10, 0));
}

#[test]
fn seeking_forward_and_back_equals_replaying_from_the_start() {
    let mut replay = played();
    let (end, last) = (replay.report(30), replay.duration_ns());
    assert!(last > 0 && replay.is_at_end());
    let mut payload = Vec::new();
    for tenth in 0..=10 {
        let at = last / 10 * tenth;
        replay.seek(at).expect("it can be read again");
        assert_eq!(replay.now_ns(), at);
        let report = replay.report(30);
        assert_eq!(report.check(), Ok(()), "at {at}");
        assert_eq!(report.provenance.duration_ns, at);
        payload.push(report.totals().payload);
        // A replay from the start to the same time must yield the same report.
        let mut alone = Replay::open(path("send-1.0.zct")).expect("a recording");
        alone.play_until(at);
        assert_eq!(alone.report(30), report);
    }
    assert!(payload.is_sorted() && payload[0] == 0, "{payload:?}");
    replay.seek(0).expect("backwards");
    assert_eq!(replay.report(30).totals().payload, 0);
    replay.play_to_end();
    assert_eq!(replay.report(30), end);
}

/// Input of an engine, in the detail that the tests change.
#[derive(Clone, Debug)]
enum Entry {
    Record(Vec<u8>),
    Time(u64),
    /// Input of another kind, by its number in the recording.
    Other(usize),
}

/// Returns all entries of the recording.
fn entries() -> (TraceHeader, Vec<Entry>) {
    let mut reader = Reader::open(path("send-1.0.zct")).expect("a recording");
    let header = reader.trace_header();
    let mut entries = Vec::new();
    while let Some(input) = reader.next_input() {
        entries.push(match input {
            Input::Record(bytes) => Entry::Record(bytes.to_owned()),
            Input::Time(now_ns) => Entry::Time(now_ns),
            _ => Entry::Other(entries.len()),
        });
    }
    (header, entries)
}

/// Returns the entries with page runs in place of page records, as the eBPF programs write since
/// version 1.1.
fn with_page_runs(entries: &[Entry]) -> Vec<Entry> {
    let convert = |entry: &Entry| {
        let Entry::Record(bytes) = entry else {
            return entry.clone();
        };
        let Ok(Record::Pages(mut pages)) = Record::from_bytes(bytes) else {
            return entry.clone();
        };
        if pages.station == station_kind::PIPE_SOURCE {
            for range in &mut pages.ranges[..usize::from(pages.count)] {
                (range.mapping, range.index, range.ops) = (MAPPING_NOT_READ, 0, 0);
            }
        }
        let mut page_run = Vec::new();
        RecordRef::Pages(&pages).write(&mut page_run);
        Entry::Record(page_run)
    };
    entries.iter().map(convert).collect()
}

#[test]
fn page_runs_yield_the_report_of_page_records() {
    let (header, entries) = entries();
    let page_runs = with_page_runs(&entries);
    let is_page_run =
        |entry: &&Entry| matches!(entry, Entry::Record(bytes) if bytes[28..30] == PageRun::KIND.0.to_ne_bytes());
    assert!(page_runs.iter().filter(is_page_run).count() > 10);
    assert_eq!(entries.iter().filter(is_page_run).count(), 0);
    let mut from_records = report(header.clone(), &entries);
    let from_page_runs = report(header, &page_runs);
    assert_eq!(from_records.flows.len(), from_page_runs.flows.len());
    // Page runs are shorter. Nothing else may differ.
    assert!(from_page_runs.overhead.record_bytes < from_records.overhead.record_bytes);
    from_records.overhead.record_bytes = from_page_runs.overhead.record_bytes;
    assert!(from_records == from_page_runs);
}

fn report(header: TraceHeader, entries: &[Entry]) -> Report {
    let mut engine = Engine::new(header);
    for entry in entries {
        match entry {
            Entry::Record(bytes) => engine.take(Input::Record(bytes)),
            Entry::Time(now_ns) => engine.take(Input::Time(*now_ns)),
            Entry::Other(n) if n % 5 == 0 => engine.take(Input::Reset),
            Entry::Other(_) => {}
        }
    }
    engine.take(Input::End);
    engine.report(30)
}

/// Change to a record or to the order of entries.
#[derive(Clone, Debug)]
enum Change {
    Byte {
        at: usize,
        to: u8,
    },
    /// Replacement of a 64-bit number; the limits of its range are chosen most often.
    Number {
        at: usize,
        to: u64,
    },
    Drop,
    Duplicate,
    Swap(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        Just(1 << 31),
        any::<u64>()
    ];
    let endpoint_fields = |endpoint: usize| [0, 8, 24, 32, 48, 56, 64, 68, 84].map(|at| endpoint + at);
    let fields = [
        vec![
            offset_of!(Call, result),
            offset_of!(Call, result),
            offset_of!(Call, dirtied_bytes),
            offset_of!(Call, entered_ns),
            offset_of!(Call, memory),
            offset_of!(PageRecord, position),
            offset_of!(PageRecord, total),
            PageRecord::HEAD_SIZE + offset_of!(PageRange, offset),
            PageRecord::HEAD_SIZE + offset_of!(PageRange, index),
            offset_of!(PageRun, mapping),
            offset_of!(PageRun, index),
            PageRun::HEAD_SIZE,
            PageRun::HEAD_SIZE + 8,
        ],
        endpoint_fields(offset_of!(Call, source)).to_vec(),
        endpoint_fields(offset_of!(Call, sink)).to_vec(),
    ]
    .concat();
    // The header is excluded: the decoder's tests cover it, and the engine drops a record that it
    // cannot decode.
    let at = RecordHeader::SIZE..size_of::<Call>().max(PageRecord::HEAD_SIZE + 400);
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, to)| Change::Byte { at, to }),
        (at, number.clone()).prop_map(|(at, to)| Change::Number { at: at / 4 * 4, to }),
        (prop::sample::select(fields), number).prop_map(|(at, to)| Change::Number { at, to }),
        Just(Change::Drop),
        Just(Change::Duplicate),
        (0..100_usize).prop_map(Change::Swap),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrarily_changed_records_yield_a_report(
        changes in prop::collection::vec((0..100_usize, change()), 1..12),
        as_page_runs in any::<bool>(),
    ) {
        let (header, mut entries) = entries();
        if as_page_runs {
            entries = with_page_runs(&entries);
        }
        for (which, change) in changes {
            let which = which % entries.len();
            match change {
                Change::Byte { at, to } => {
                    if let Entry::Record(bytes) = &mut entries[which]
                        && let Some(byte) = bytes.get_mut(at)
                    {
                        *byte = to;
                    }
                }
                Change::Number { at, to } => {
                    if let Entry::Record(bytes) = &mut entries[which]
                        && let Some(field) = bytes.get_mut(at..at + 8)
                    {
                        field.copy_from_slice(&to.to_le_bytes());
                    }
                }
                Change::Drop => drop(entries.remove(which)),
                Change::Duplicate => entries.insert(which, entries[which].clone()),
                Change::Swap(other) => {
                    let other = other % entries.len();
                    entries.swap(which, other);
                }
            }
        }
        report(header, &entries);
    }
}
