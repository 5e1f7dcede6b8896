//! Path of an object through a storage daemon: it peeks at the header, never at the body, writes
//! both to a file on disk and forwards the body to a replica. The body stays in the kernel; the
//! list counts every peek.
//!
//! ```text
//! cargo run -p bufferlist --example storage_daemon
//! ```

use bufferlist::{BufferList, Nonblocking, Side, Sink, Source, Step};
use bytes::Buf;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Magic number and length of the body, four bytes each.
const HEADER: u64 = 8;
const MAGIC: u32 = 0x0b1e_c701;
const BODY: u32 = 300_000;

/// Returns both ends of a TCP connection.
fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    Ok((near, listener.accept()?.0))
}

fn wait(fd: impl AsFd, flags: PollFlags) -> io::Result<()> {
    poll(&mut [PollFd::new(&fd, flags)], None)?;
    Ok(())
}

/// Fills the list from the source until it holds `len` bytes.
fn fill(list: &mut BufferList, source: &mut Source<impl AsFd>, len: u64) -> io::Result<()> {
    while list.len() < len {
        match list.splice_from(source, len - list.len())? {
            Step::Moved(_) => {}
            Step::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Step::Blocked(_) => wait(source.get_ref(), PollFlags::IN)?,
        }
    }
    Ok(())
}

/// Sends the whole list to the sink.
fn send(mut list: BufferList, sink: &mut Sink<impl AsFd>) -> io::Result<()> {
    loop {
        match list.splice_to(sink)? {
            Step::Moved(receipt) => println!("  to {:<5} {:>6} bytes", sink.kind().name(), receipt.total()),
            Step::End => return Ok(()),
            Step::Blocked(Side::Sink) => wait(sink.get_ref(), PollFlags::OUT)?,
            Step::Blocked(_) => thread::yield_now(),
        }
    }
}

fn main() -> io::Result<()> {
    // A client that sends one object, and a replica that receives its body.
    let (mut client, daemon) = connection()?;
    let (near, mut replica) = connection()?;
    let client = thread::spawn(move || -> io::Result<()> {
        client.write_all(&MAGIC.to_be_bytes())?;
        client.write_all(&BODY.to_be_bytes())?;
        client.write_all(&vec![7; BODY as usize])
    });
    let replica = thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        replica.read_to_end(&mut received)?;
        Ok(received)
    });

    // Steps never block, so the sockets must be non-blocking.
    let mut source = Source::stream(Nonblocking::enter(&daemon)?)?;
    let mut object = BufferList::new();
    fill(&mut object, &mut source, HEADER)?;
    let mut header = object.peek(..HEADER)?;
    assert_eq!(header.get_u32(), MAGIC);
    let body = u64::from(header.get_u32());
    fill(&mut object, &mut source, HEADER + body)?;
    println!("{} segments: {:?}", object.segments().len(), object);

    // A clone counts references. One holder sends the pages to the disk, the other to the replica.
    let disk = tempfile::tempfile()?;
    send(object.clone(), &mut Sink::file(&disk, 0)?)?;
    let body = object.split_off(HEADER);
    send(body, &mut Sink::stream(Nonblocking::enter(&near)?)?)?;
    drop(near);

    // No call peeked at the body: the output would show its call site and number of bytes. (The
    // kernel copies into the file below the splice. Receipts and zctrace report that copy.)
    println!("copied by the library or by a peek:\n{}", object.counts());
    assert!(object.counts().copied() < 4096);

    client.join().expect("the client does not panic")?;
    let received = replica.join().expect("the replica does not panic")?;
    assert_eq!(received, vec![7; BODY as usize], "the replica has the body");
    assert_eq!(
        disk.metadata()?.len(),
        HEADER + u64::from(BODY),
        "the disk has header and body"
    );
    Ok(())
}
