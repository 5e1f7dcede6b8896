//! Records of calls that move bytes into and out of pipes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write, pipe};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::pipe::{IoSliceRaw, SpliceFlags, fcntl_setpipe_size, splice, tee, vmsplice};
use zctrace_records::{call_flag, endpoint_kind, nr, page_record_flag, process_event_kind, station_kind};

use crate::fixtures::{Folder, merged, splice_all, splice_at};
use crate::observer::{Observer, bytes, runs};
use crate::{PAGE, TEST};

pub(crate) fn file_to_pipe(observer: &mut Observer, source: &Path) {
    let file = File::open(source).unwrap();
    let (_reader, writer) = pipe().unwrap();
    let (moved, observed) = observer.observe(|| splice_at(&file, 4096, &writer, 20_000));
    let call = observed.call(nr::SPLICE);
    assert_eq!((call.result, call.requested), (moved as i64, 20_000));
    assert_eq!(call.flags, call_flag::ENTRY_OBSERVED);
    let at = file.metadata().unwrap();
    let end = &call.source;
    assert_eq!(
        (end.kind, end.ino, end.before, end.after),
        (endpoint_kind::FILE, at.ino(), 4096, 24_096)
    );
    assert_eq!(end.dev >> 20, rustix::fs::major(at.dev()));
    assert_eq!(call.sink.kind, endpoint_kind::PIPE);
    assert_eq!((call.sink.before, call.sink.after), (0, 5 << 32));
    assert_eq!(call.sink.size, 16);
    let ranges = observed.ranges(call, station_kind::PIPE_SINK);
    assert_eq!(bytes(&ranges), 20_000);
    assert_eq!(
        ranges.iter().map(|range| range.index).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    let station = &observed.stations[0];
    assert_eq!(station.file.ino, at.ino());
    assert_eq!((station.file.dev, station.file.generation), (end.dev, end.generation));
    assert!(ranges.iter().all(|range| range.mapping == end.object && range.ops != 0));
    // Paths begin at the root of their filesystem.
    let path = observer.path(at.ino());
    assert!(source.to_str().unwrap().ends_with(&path), "{path}");
    assert!(path.starts_with('/') && path.ends_with("/source"), "{path}");
}

pub(crate) fn pipe_to_file(observer: &mut Observer, folder: &Folder, source: &Path) {
    let file = File::open(source).unwrap();
    let (reader, writer) = pipe().unwrap();
    let (_, filled) = observer.observe(|| splice_at(&file, 0, &writer, 8 * PAGE));
    let put = filled.ranges(filled.call(nr::SPLICE), station_kind::PIPE_SINK);
    let target = folder.path("buffered");
    let buffered = File::create(&target).unwrap();
    let ((), observed) = observer.observe(|| splice_all(&reader, &buffered, 4 * PAGE));
    let call = observed.call(nr::SPLICE);
    if rustix::fs::fstatfs(&buffered).unwrap().f_type == libc::TMPFS_MAGIC {
        return test_support::skip!(
            TEST,
            "the target folder is in memory: no disk, and no page becomes dirty"
        );
    }
    assert!(
        call.dirtied_bytes >= 4 * PAGE as u64,
        "the sink's own pages became dirty: {}",
        call.dirtied_bytes
    );
    assert_eq!((call.sink.before, call.sink.after), (0, 4 * PAGE as u64));

    let direct = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_DIRECT)
        .open(folder.path("direct"));
    let Ok(direct) = direct else {
        return test_support::skip!(TEST, "O_DIRECT: the filesystem of the target folder does not have it");
    };
    let (moved, observed) = observer.observe(|| splice(&reader, None, &direct, None, 4 * PAGE, SpliceFlags::empty()));
    if moved.is_err() {
        return test_support::skip!(TEST, "O_DIRECT: the filesystem of the target folder refuses a splice");
    }
    let call = observed.call(nr::SPLICE);
    assert_eq!(call.sink.f_flags & libc::O_DIRECT as u32, libc::O_DIRECT as u32);
    let written = observed.ranges(call, station_kind::BIO);
    if written.is_empty() {
        return test_support::skip!(
            TEST,
            "O_DIRECT: the filesystem of the target folder queues no bio in the call"
        );
    }
    let bio = observed
        .stations
        .iter()
        .find(|s| s.station == station_kind::BIO)
        .unwrap();
    assert_eq!(bio.flags & page_record_flag::WRITE, page_record_flag::WRITE);
    assert_ne!(bio.device, 0);
    let data: Vec<_> = written.into_iter().filter(|range| range.mapping != 0).collect();
    assert_eq!(
        merged(runs(&data)),
        merged(runs(&put[4..])),
        "the disk is given the other file's pages"
    );
}

pub(crate) fn memory_to_pipe(observer: &mut Observer) {
    let (reader, writer) = pipe().unwrap();
    let memory = vec![5_u8; 4 * PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let range = &memory[start..start + 2 * PAGE];
    let (_, observed) = observer.observe(|| {
        let slices = [IoSliceRaw::from_slice(range)];
        // SAFETY: vmsplice requires that the memory stays valid and unchanged while the pipe refers
        // to it. The mapping is never unmapped, and nothing writes to it while its pages are in the
        // pipe.
        unsafe { vmsplice(&writer, &slices, SpliceFlags::empty()) }.unwrap()
    });
    let call = observed.call(nr::VMSPLICE);
    assert_eq!(
        (call.source.kind, call.sink.kind),
        (endpoint_kind::MEMORY, endpoint_kind::PIPE)
    );
    assert_eq!((call.memory, call.requested), (range.as_ptr() as u64, 2 * PAGE as u64));
    assert_ne!(call.flags & call_flag::CONTIGUOUS, 0);
    let ranges = observed.ranges(call, station_kind::PIPE_SINK);
    assert_eq!(bytes(&ranges), 2 * PAGE as u64);
    assert!(
        ranges.iter().all(|range| range.mapping & 1 == 1),
        "pages of anonymous memory: {ranges:x?}"
    );

    // Out of the pipe again: the same system call in the other direction copies.
    let mut back = vec![0_u8; 2 * PAGE];
    let (_, observed) = observer.observe(|| {
        let slices = [IoSliceRaw::from_slice_mut(&mut back)];
        // SAFETY: the address and length are those of a mapping that this function created and owns
        // alone.
        unsafe { vmsplice(&reader, &slices, SpliceFlags::empty()) }.unwrap()
    });
    let call = observed.call(nr::VMSPLICE);
    assert_eq!(
        (call.source.kind, call.sink.kind),
        (endpoint_kind::PIPE, endpoint_kind::MEMORY)
    );
    assert_eq!(call.memory, back.as_ptr() as u64);
    assert_eq!(observed.ranges(call, station_kind::PIPE_SOURCE).len(), 2);
}

pub(crate) fn tee_shares_pages(observer: &mut Observer, source: &Path) {
    let file = File::open(source).unwrap();
    let (from, to) = (pipe().unwrap(), pipe().unwrap());
    splice_at(&file, 0, &from.1, 3 * PAGE);
    let (_, observed) = observer.observe(|| tee(&from.0, &to.1, 2 * PAGE, SpliceFlags::empty()).unwrap());
    let call = observed.call(nr::TEE);
    let (looked, put) = (
        observed.ranges(call, station_kind::PIPE_SOURCE),
        observed.ranges(call, station_kind::PIPE_SINK),
    );
    assert_eq!(looked.len(), 2);
    assert_eq!(runs(&looked), runs(&put));
    assert_eq!(call.source.before, call.source.after, "tee takes nothing out");
}

pub(crate) fn a_large_ring(observer: &mut Observer, folder: &Folder) {
    let file = File::open(folder.file("large", 250 * PAGE)).unwrap();
    let (_reader, writer) = pipe().unwrap();
    fcntl_setpipe_size(&writer, 256 * PAGE).unwrap();
    let (moved, observed) = observer.observe(|| splice_at(&file, 0, &writer, 250 * PAGE));
    let call = observed.call(nr::SPLICE);
    let ranges = observed.ranges(call, station_kind::PIPE_SINK);
    assert_eq!(
        (bytes(&ranges), call.page_records),
        (moved as u64, ranges.len().div_ceil(16) as u32)
    );
    assert!(ranges.iter().zip(0..).all(|(range, index)| range.index == index));
}

pub(crate) fn write_and_read_a_pipe(observer: &mut Observer) {
    let (mut reader, mut writer) = pipe().unwrap();
    let (_, observed) = observer.observe(|| {
        writer.write_all(&[1; 100]).unwrap();
        writer
            .write_vectored(&[std::io::IoSlice::new(&[2; 30]), std::io::IoSlice::new(&[3; 40])])
            .unwrap()
    });
    let first = observed.call(nr::WRITE);
    assert_eq!(
        (first.source.kind, first.sink.kind, first.result),
        (endpoint_kind::MEMORY, endpoint_kind::PIPE, 100)
    );
    let second = observed.call(nr::WRITEV);
    assert_eq!((second.requested, second.flags & call_flag::CONTIGUOUS), (70, 0));
    assert_eq!(
        (second.sink.last_before, second.sink.last_after),
        (100, 170),
        "appended to the last slot"
    );
    assert_eq!(second.sink.before, second.sink.after);
    let mut buffer = [0; 170];
    let ((), observed) = observer.observe(|| reader.read_exact(&mut buffer).unwrap());
    let call = observed.call(nr::READ);
    assert_eq!((call.source.tail_before, call.source.tail_after), (170, 0));
    assert_eq!(call.memory, buffer.as_ptr() as u64);
}

pub(crate) fn nothing_moved(observer: &mut Observer) {
    let (reader, writer) = pipe().unwrap();
    let other = pipe().unwrap();
    let (moved, observed) = observer.observe(|| splice(&reader, None, &other.1, None, 10, SpliceFlags::NONBLOCK));
    assert!(moved.is_err());
    let call = observed.call(nr::SPLICE);
    assert_eq!((call.result, call.page_records), (-i64::from(libc::EAGAIN), 0));
    assert!(observed.stations.is_empty());
    drop(writer);
}

pub(crate) fn a_pipe_is_resized(observer: &mut Observer) {
    let (_reader, writer) = pipe().unwrap();
    let ((), observed) = observer.observe(|| {
        (&writer).write_all(b"x").unwrap();
        fcntl_setpipe_size(&writer, 64 * PAGE).unwrap();
    });
    let resized = observed
        .processes
        .iter()
        .find(|process| process.event == process_event_kind::PIPE_RESIZED);
    assert_eq!(
        resized.expect("it is told").detail,
        observed.call(nr::WRITE).sink.object
    );
}
