//! The oracle's matrix on this kernel, and the library's receipts compared with it in every cell.

use bufferlist::oracle::{Matrix, SinkColumn, Verdict, probe, probe_in, probe_path};
use bufferlist::{
    BufferList, EndpointKind, ErrorKind, FileExtent, Nonblocking, PagesMut, Reason, Receipt, Sink, Source, Step,
};
use bytes::Bytes;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;

const PAGE: usize = 4096;

/// The matrix as found on every kernel tried, 6.18 on ext4 among them. If a kernel differs, this
/// test names the cell; finding such differences is the purpose of the matrix.
const EXPECTED: [(EndpointKind, [bool; 10]); 4] = [
    //                  pipe  →pipe tee   memfd  file   direct TCP   →pipe UNIX  UDP
    (
        EndpointKind::File,
        [true, true, true, false, false, false, true, true, true, true],
    ),
    (
        EndpointKind::Tmpfs,
        [true, true, true, false, false, false, true, true, true, true],
    ),
    (EndpointKind::DirectFile, [false; 10]),
    (
        EndpointKind::Memory,
        [true, true, true, false, false, false, true, true, true, true],
    ),
];

#[test]
fn matrix_matches_known_kernel_behavior() {
    let directory = tempfile::tempdir().expect("a directory");
    let matrix = Matrix::probe(directory.path());
    println!("{matrix}");
    for (from, shared) in EXPECTED {
        for (column, shared) in SinkColumn::ALL.into_iter().zip(shared) {
            let Some(verdict) = matrix.get(from, column) else {
                // A filesystem without direct I/O has no such row or column.
                assert!(
                    from == EndpointKind::DirectFile || column == SinkColumn::DirectFile,
                    "{from:?} to {column:?}"
                );
                continue;
            };
            assert_eq!(
                verdict == Verdict::Shared,
                shared,
                "{} to {}\n{matrix}",
                from.name(),
                column.name()
            );
        }
    }
}

#[test]
fn path_verdict_is_that_of_its_worst_hop() {
    let ask = |path: &[EndpointKind]| probe_path(std::env::temp_dir(), path).expect("an answer");
    assert_eq!(
        ask(&[
            EndpointKind::File,
            EndpointKind::Tcp,
            EndpointKind::Pipe,
            EndpointKind::Unix,
            EndpointKind::Tcp
        ]),
        Verdict::Shared
    );
    assert_eq!(
        ask(&[EndpointKind::File, EndpointKind::Tcp, EndpointKind::File]),
        Verdict::Private
    );
}

#[test]
fn invalid_oracle_queries_are_rejected() {
    let error = |result: bufferlist::Result<Verdict>| result.unwrap_err().kind();
    assert_eq!(
        error(probe(EndpointKind::File, EndpointKind::DevNull)),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        error(probe(EndpointKind::Udp, EndpointKind::Pipe)),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        error(probe_path("/tmp", &[EndpointKind::File])),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        error(probe_in("/proc", EndpointKind::File, EndpointKind::Pipe)),
        ErrorKind::Io
    );
}

/// A file with a page that can be changed after it was moved.
struct Changeable {
    file: File,
    kind: EndpointKind,
}

impl Changeable {
    fn new(kind: EndpointKind) -> Self {
        let mut file = match kind {
            EndpointKind::Tmpfs => {
                let memfd = rustix::fs::memfd_create("changeable", rustix::fs::MemfdFlags::CLOEXEC);
                File::from(memfd.expect("memfd"))
            }
            _ => tempfile::tempfile().expect("a file"),
        };
        file.write_all(&[b'A'; PAGE]).expect("write");
        file.sync_all().expect("sync");
        Self { file, kind }
    }

    fn change(&self) {
        self.file.write_all_at(&[b'B'; PAGE], 0).expect("change");
    }

    /// Returns the descriptor to move bytes with: direct if the kind is. `None` where the
    /// filesystem does not support direct I/O.
    fn opened(&self) -> Option<File> {
        if self.kind != EndpointKind::DirectFile {
            return Some(self.file.try_clone().expect("dup"));
        }
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
        File::options()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
            .ok()
    }
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    (near, listener.accept().expect("accept").0)
}

/// Sends the whole list, one page, to the sink.
fn give<F: AsFd>(list: &mut BufferList, mut sink: Sink<F>) -> Receipt {
    let mut receipt = Receipt::default();
    while let Step::Moved(step) = list.splice_to(&mut sink).expect("a step") {
        receipt += step;
    }
    assert_eq!(receipt.total(), PAGE as u64);
    receipt
}

/// Returns a non-blocking stream sink.
fn stream<F: AsFd>(fd: F) -> Sink<Nonblocking<F>> {
    Sink::stream(Nonblocking::enter(fd).expect("flag")).expect("sink")
}

/// Moves a page into a sink, changes the source, and returns whether the sink shows the change,
/// with the receipt of the move.
fn move_and_change(mut list: BufferList, to: EndpointKind, change: impl FnOnce()) -> Option<(Verdict, Receipt)> {
    let mut received = vec![0; PAGE];
    let receipt;
    match to {
        EndpointKind::Pipe => {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
            let mut read = File::from(read);
            receipt = give(&mut list, stream(write));
            change();
            read.read_exact(&mut received).expect("read");
        }
        EndpointKind::Tcp => {
            let (near, mut far) = tcp();
            receipt = give(&mut list, stream(&near));
            change();
            far.read_exact(&mut received).expect("read");
        }
        EndpointKind::Unix => {
            let (near, mut far) = UnixStream::pair().expect("pair");
            receipt = give(&mut list, stream(&near));
            change();
            far.read_exact(&mut received).expect("read");
        }
        EndpointKind::Udp => {
            let (near, far) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
            let (near, far) = (near.expect("bind"), far.expect("bind"));
            near.connect(far.local_addr().expect("address")).expect("connect");
            receipt = give(
                &mut list,
                Sink::datagram(Nonblocking::enter(&near).expect("flag")).expect("sink"),
            );
            change();
            assert_eq!(far.recv(&mut received).expect("recv"), PAGE);
        }
        EndpointKind::File | EndpointKind::Tmpfs | EndpointKind::DirectFile => {
            let mut sink = Changeable::new(to);
            let opened = sink.opened()?;
            sink.file.set_len(0).expect("truncate");
            receipt = give(&mut list, Sink::file(&opened, 0).expect("sink"));
            change();
            sink.file.seek(SeekFrom::Start(0)).expect("seek");
            sink.file.read_exact(&mut received).expect("read");
        }
        _ => unreachable!("not a sink of this test"),
    }
    assert!(
        received.iter().all(|&byte| byte == received[0]),
        "the sink holds a mixture"
    );
    match received[0] {
        b'B' => Some((Verdict::Shared, receipt)),
        b'A' => Some((Verdict::Private, receipt)),
        other => panic!("the sink holds neither: {other}"),
    }
}

const SINKS: [EndpointKind; 7] = [
    EndpointKind::Pipe,
    EndpointKind::Tmpfs,
    EndpointKind::File,
    EndpointKind::DirectFile,
    EndpointKind::Tcp,
    EndpointKind::Unix,
    EndpointKind::Udp,
];

/// The rule between receipts and data: shared must be moved; private must be copied, or unknown
/// where a device may have fetched the page. Returns the number of cells that could be tested.
fn judge(cells: &mut usize, what: &str, outcome: Option<(Verdict, Receipt)>) {
    let Some((shown, receipt)) = outcome else { return };
    *cells += 1;
    let (moved, copied, unknown) = (receipt.moved(), receipt.copied(), receipt.unknown());
    println!(
        "{what:<34} {:<8} moved {moved:<5} copied {copied:<5} unknown {unknown:<5} {:?}",
        shown.name(),
        receipt.reason()
    );
    assert_eq!(moved + copied + unknown, PAGE as u64, "{what}");
    match shown {
        Verdict::Shared => assert_eq!(moved, PAGE as u64, "{what} is shared, so it was moved"),
        Verdict::Private => {
            assert_eq!(moved, 0, "{what} is private, so nothing may be called moved");
            if unknown > 0 {
                assert_eq!(receipt.reason(), Some(Reason::DirectDevice), "{what}");
            }
        }
    }
}

/// Returns a list that holds a page of the file in a pipe.
fn spliced(file: &File) -> BufferList {
    let mut list = BufferList::new();
    let step = list
        .splice_from(&mut Source::file(file, ..).expect("source"), PAGE as u64)
        .expect("a step");
    assert_eq!(step.receipt().total(), PAGE as u64);
    list
}

#[test]
fn receipts_agree_with_data_for_every_matrix_cell() {
    let mut cells = 0;
    for to in SINKS {
        for from in [EndpointKind::File, EndpointKind::Tmpfs, EndpointKind::DirectFile] {
            let source = Changeable::new(from);
            let Some(opened) = source.opened() else { continue };
            let outcome = move_and_change(spliced(&opened), to, || source.change());
            judge(&mut cells, &format!("{} → pipe → {}", from.name(), to.name()), outcome);
        }
        // A clone is sent by tee.
        let source = Changeable::new(EndpointKind::File);
        let list = spliced(&source.file);
        let outcome = move_and_change(list.clone(), to, || source.change());
        judge(&mut cells, &format!("file → pipe → tee → {}", to.name()), outcome);
        // Writing memory copies it, unless a device fetches it from where it is.
        let mut memory = PagesMut::new(PAGE).expect("pages");
        memory.as_mut_slice().fill(b'A');
        let memory = Bytes::from(memory.seal().expect("seal"));
        let outcome = move_and_change(BufferList::from(memory), to, || ());
        if let Some((_, receipt)) = &outcome {
            let copied = if to == EndpointKind::DirectFile { 0 } else { PAGE as u64 };
            assert_eq!(receipt.copied(), copied, "memory to {}", to.name());
        }
        judge(&mut cells, &format!("memory → {}", to.name()), outcome);
        // By file extents, which use sendfile and direct splices.
        for from in [EndpointKind::File, EndpointKind::Tmpfs] {
            let source = Changeable::new(from);
            let extent = FileExtent::new(OwnedFd::from(source.file.try_clone().expect("dup")), ..).expect("extent");
            let outcome = move_and_change(BufferList::from(extent), to, || source.change());
            judge(
                &mut cells,
                &format!("extent of {} → {}", from.name(), to.name()),
                outcome,
            );
        }
    }
    println!("{cells} cells");
    assert!(cells >= 40, "only {cells} cells could be tried");
}

#[test]
fn written_socket_data_is_not_reported_moved() {
    let (mut near, far) = UnixStream::pair().expect("pair");
    near.write_all(&[7; PAGE]).expect("write");
    let mut list = BufferList::new();
    let mut source = Source::stream(Nonblocking::enter(&far).expect("flag")).expect("source");
    let step = list.splice_from(&mut source, PAGE as u64).expect("a step");
    assert_eq!((step.receipt().moved(), step.receipt().unknown()), (0, PAGE as u64));
    assert_eq!(step.receipt().reason(), Some(Reason::PeerDependent));
}

#[test]
fn untested_filesystem_is_not_reported_moved() {
    // A file in this test's own directory is known; one in /proc is on another filesystem.
    let mut source = Source::file(File::open("/proc/self/exe").expect("open"), ..).expect("source");
    let shown = BufferList::new()
        .splice_from(&mut source, PAGE as u64)
        .expect("a step")
        .receipt();
    assert_eq!(shown.moved() + shown.unknown(), PAGE as u64, "never copied");
    let cpuinfo = File::open("/proc/cpuinfo").expect("open");
    let receipt = BufferList::new()
        .splice_from(&mut Source::file(&cpuinfo, ..).expect("source"), PAGE as u64)
        .expect("a step")
        .receipt();
    assert_eq!(receipt.moved(), 0, "the kernel copies out of /proc: {receipt:?}");
}
