//! Tests of the format without a kernel: round trip, truncation, damage and other versions.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use zctrace_records::{DigestState, IoCounterKey, IoCounters, RecordHeader, RecordKind};

use super::block::{self, Block};
use super::{MAGIC, OpenError, Reader, Writer, frame};
use zctrace_evidence::{Costs, Input, Losses, Recorder, SymbolRequest, TraceHeader};
use zctrace_report::CallSite;

fn record(number: u64, len: usize) -> Vec<u8> {
    let header = RecordHeader {
        sequence: number,
        timestamp_ns: number * 1000,
        tgid: 1,
        tid: 2,
        cpu: 0,
        kind: RecordKind(77),
        len: len as u16,
    };
    let mut bytes = header.to_bytes().to_vec();
    // Pseudorandom bytes, which LZ4 cannot compress.
    let mut state = number;
    while bytes.len() < len {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        bytes.push((state >> 56) as u8);
    }
    bytes
}

/// Emits at least one input of each kind.
fn one_of_each(emit: &mut dyn FnMut(Input<'_>)) {
    inputs(30, 300, emit);
}

fn inputs(rows: u64, long: usize, emit: &mut dyn FnMut(Input<'_>)) {
    let request = SymbolRequest { tgid: 7, user_ip: 8 };
    let call_site = CallSite {
        object: Some("/usr/bin/x+0x10".to_owned()),
        ..CallSite::default()
    };
    let row = |n| {
        let key = IoCounterKey {
            ino: n,
            ..IoCounterKey::default()
        };
        (key, IoCounters::default())
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    let losses = Losses {
        program: "sys_exit".to_owned(),
        number: 1,
        failures: 2,
        recursion_misses: 3,
    };
    emit(Input::Record(&record(1, 100)));
    emit(Input::IoCounters(&rows));
    emit(Input::OpenDigests(&[
        (1, DigestState::default()),
        (2, DigestState::default()),
    ]));
    emit(Input::Losses(&[losses]));
    emit(Input::Time(5));
    emit(Input::Symbol(request, Some(&call_site)));
    emit(Input::Symbol(request, None));
    emit(Input::Costs(Costs {
        own_cpu_ns: 9,
        programs_ns: Some(1),
    }));
    emit(Input::Time(2_000_000_000));
    emit(Input::Reset);
    emit(Input::Record(&record(2, long)));
    emit(Input::End);
    emit(Input::Time(2_500_000_000));
}

fn written(inputs: impl FnOnce(&mut dyn FnMut(Input<'_>))) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a file");
    let to = file.try_clone().expect("the same file");
    let (mut writer, handle) = Writer::start(to, &TraceHeader::default(), "1.2.3").expect("a head");
    inputs(&mut |input| writer.take(&input));
    drop(writer);
    let summary = handle.finish().expect("all is written");
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).expect("a start");
    file.read_to_end(&mut bytes).expect("what was written");
    assert_eq!(summary.bytes, bytes.len() as u64);
    bytes
}

/// Reads a recording: the debug form of its inputs, the truncation, and the number of skipped
/// frames.
fn read(bytes: &[u8]) -> Result<(Vec<String>, Option<super::Truncation>, u64), OpenError> {
    let mut reader = Reader::new(Cursor::new(bytes))?;
    let mut inputs = Vec::new();
    while let Some(input) = reader.next_input() {
        inputs.push(format!("{input:?}"));
    }
    assert!(reader.next_input().is_none(), "an end stays one");
    Ok((inputs, reader.truncation().cloned(), reader.skipped()))
}

#[test]
fn reading_returns_the_inputs_that_were_written() {
    let mut expected = Vec::new();
    inputs(3000, 60_000, &mut |input| match input {
        // A frame holds at most 1024 rows.
        Input::IoCounters(rows) => {
            expected.extend(rows.chunks(1024).map(|rows| format!("{:?}", Input::IoCounters(rows))));
        }
        input => expected.push(format!("{input:?}")),
    });
    let bytes = written(|emit| inputs(3000, 60_000, emit));
    let (found, truncation, skipped) = read(&bytes).expect("a recording");
    assert_eq!(found, expected);
    assert_eq!((truncation, skipped), (None, 0));
    let mut reader = Reader::new(Cursor::new(&bytes)).expect("a recording");
    assert_eq!(reader.duration_ns().expect("a duration"), 2_500_000_000);
    for _ in 0..2 {
        assert!(matches!(reader.next_input(), Some(Input::Record(_))));
        reader.rewind().expect("the start");
    }
    assert_eq!(reader.zctrace_version(), "1.2.3");
}

#[test]
fn consecutive_times_are_stored_as_the_last_one() {
    let bytes = written(|emit| {
        (0..1000).for_each(|n| emit(Input::Time(n)));
        emit(Input::End);
        (2000..3000).for_each(|n| emit(Input::Time(n)));
    });
    let (inputs, ..) = read(&bytes).expect("a recording");
    assert_eq!(inputs, ["Time(999)", "End", "Time(2999)"]);
}

#[test]
fn file_cut_at_any_byte_yields_the_inputs_before_it_and_reports_the_rest() {
    let bytes = written(one_of_each);
    let (whole, ..) = read(&bytes).expect("a recording");
    let mut most = 0;
    for at in 0..bytes.len() {
        match read(&bytes[..at]) {
            Ok((inputs, truncation, _)) => {
                assert!(whole.starts_with(&inputs), "cut at {at}");
                assert!(truncation.is_some(), "cut at {at}");
                most = most.max(inputs.len());
            }
            Err(OpenError::NotARecording) => assert!(at < MAGIC.len()),
            Err(OpenError::Header(_)) => {}
            Err(other) => panic!("cut at {at}: {other}"),
        }
    }
    assert!(most > 0, "what comes before a cut must be used");
}

#[test]
fn any_changed_bit_is_detected() {
    let bytes = written(one_of_each);
    let (whole, ..) = read(&bytes).expect("a recording");
    for at in 0..bytes.len() {
        for bit in [at % 8, (at + 5) % 8] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok((inputs, truncation, _)) = read(&damaged) {
                assert!(whole.starts_with(&inputs), "bit {bit} of byte {at}");
                assert!(truncation.is_some(), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn truncation_reports_byte_and_time() {
    let mut bytes = written(one_of_each);
    let len = bytes.len() as u64;
    bytes.pop();
    let (_, truncation, _) = read(&bytes).expect("a recording");
    let truncation = truncation.expect("it is cut");
    assert_eq!((truncation.unused_bytes, truncation.at_ns), (None, 5));
    assert!(truncation.at_byte < len);
    let text = truncation.to_string();
    assert!(
        text.contains("until 0.000 s") && text.contains("the file ends in block 1"),
        "{text}"
    );
}

/// Returns a recording with one block, which has these frames.
fn with_frames(frames: Vec<u8>, count: u32) -> Vec<u8> {
    let mut bytes = written(|_| ());
    let block = Block {
        first_ns: 0,
        frames: count,
        bytes: frames,
    };
    let mut stored = Vec::new();
    block.to_bytes(0, &mut stored);
    let head = 20 + u64::from(u32::from_le_bytes(bytes[12..16].try_into().unwrap()));
    bytes.truncate(head as usize);
    bytes.extend_from_slice(&stored);
    bytes
}

fn frame_of_kind(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn frames_of_a_newer_version_are_skipped_and_counted() {
    let mut frames = Vec::new();
    frame::write(&Input::Time(1), &mut frames);
    frames.extend(frame_of_kind(300, b"what is not known here"));
    frame::write(&Input::End, &mut frames);
    frame::close(&frame::Closed::default(), &mut frames);
    let (inputs, truncation, skipped) = read(&with_frames(frames, 4)).expect("a recording");
    assert_eq!(inputs, ["Time(1)", "End"]);
    assert_eq!((truncation, skipped), (None, 1));
}

#[test]
fn invalid_frame_ends_the_recording() {
    let time = frame_of_kind(6, &1_u64.to_le_bytes());
    let cases = [
        (frame_of_kind(6, b"short"), 1),
        (frame_of_kind(3, b"no JSON"), 1),
        (frame_of_kind(4, b"{}"), 1),
        (frame_of_kind(2, &[0; 97]), 1),
        (vec![1, 0, 0, 0, 255, 255, 0, 0], 1),
        (vec![1, 2, 3], 1),
        // Fewer frames, and more, than the header of the block declares.
        (Vec::new(), 2),
        (frame_of_kind(8, b""), 0),
    ];
    for (bad, more) in cases {
        let frames = [&time[..], &bad].concat();
        let (inputs, truncation, _) = read(&with_frames(frames, 1 + more)).expect("a recording");
        assert_eq!(inputs, ["Time(1)"], "{bad:?}");
        assert_eq!(truncation.expect("it is cut").at_ns, 1, "{bad:?}");
    }
}

#[test]
fn different_major_version_is_refused_and_named() {
    let mut bytes = written(one_of_each);
    bytes[8] = 2;
    let error = read(&bytes).expect_err("another version").to_string();
    assert_eq!(
        error,
        "the recording has format version 2.1, and this zctrace reads version 1"
    );
    assert!(matches!(read(b"{\"schema\": 1}"), Err(OpenError::NotARecording)));
    assert!(matches!(read(b""), Err(OpenError::NotARecording)));
}

#[test]
fn greater_minor_version_is_accepted() {
    let mut bytes = written(one_of_each);
    bytes[10] = 9;
    let len = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..20 + len]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(read(&bytes).expect("a recording").1, None);
}

/// Returns the two ends of a pipe, which accepts 64 KiB until they are read.
fn pipe() -> (File, File) {
    let (read, write) = std::io::pipe().expect("a pipe");
    (OwnedFd::from(read).into(), OwnedFd::from(write).into())
}

#[test]
fn slow_file_drops_records_and_counts_them() {
    const LEN: usize = 32 << 10;
    let (mut reading_end, writing_end) = pipe();
    let (mut writer, handle) = Writer::start(writing_end, &TraceHeader::default(), "").expect("a head");
    // Twice the capacity of the blocks that can wait for being written.
    let sent = 2 * (super::writer::QUEUE_BLOCKS + 2) * block::TARGET_LEN / LEN;
    for number in 0..sent {
        writer.take(&Input::Record(&record(number as u64, LEN)));
        writer.take(&Input::Time(number as u64));
    }
    writer.take(&Input::End);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reading_end.read_to_end(&mut bytes).map(|_| bytes)
    });
    drop(writer);
    handle.finish().expect("nothing failed");
    let bytes = reader.join().expect("the reader").expect("what was written");
    let mut reader = Reader::new(Cursor::new(bytes)).expect("a recording");
    let (mut records, mut unrecorded, mut ended) = (0, 0, false);
    while let Some(input) = reader.next_input() {
        match input {
            Input::Record(_) => records += 1,
            Input::NotRecorded(more) => unrecorded += more,
            Input::End => ended = true,
            _ => {}
        }
    }
    assert_eq!(reader.truncation(), None);
    assert!(unrecorded > 0 && ended);
    assert_eq!(records + unrecorded, sent as u64);
}

#[test]
fn write_failure_ends_the_recording_without_blocking_the_writer() {
    let (reading_end, writing_end) = pipe();
    let (mut writer, handle) = Writer::start(writing_end, &TraceHeader::default(), "").expect("a head");
    drop(reading_end);
    // More than the queue and a block hold. The writer must neither wait nor allocate without
    // limit.
    for number in 0..1000 {
        writer.take(&Input::Record(&record(number, 60_000)));
    }
    drop(writer);
    let error = handle.finish().expect_err("nobody reads").to_string();
    assert!(error.contains("Broken pipe"), "{error}");
    let mut full = File::options().write(true).open("/dev/full").expect("/dev/full");
    assert!(full.write_all(b"x").is_err());
    assert!(Writer::start(full, &TraceHeader::default(), "").is_err());
}
