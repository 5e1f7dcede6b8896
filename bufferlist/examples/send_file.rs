//! Moves a file to a socket, and prints the receipt. It reports bytes as *moved* only if the
//! library has shown, on this boot of this kernel, that the two kinds of endpoints share pages.
//!
//! ```text
//! cargo run -p bufferlist --example send_file [FILE]
//! ```

use bufferlist::{Sink, Source, transfer};
use std::fs::File;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;

fn main() -> io::Result<()> {
    // The default is this program itself, a file of some megabytes.
    let path = std::env::args_os().nth(1).unwrap_or("/proc/self/exe".into());
    let file = File::open(path)?;

    // The peer of the connection, which reads everything.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let reader = thread::spawn(move || -> io::Result<u64> {
        let (mut socket, _) = listener.accept()?;
        let mut received = Vec::new();
        socket.read_to_end(&mut received)?;
        Ok(received.len() as u64)
    });
    let socket = TcpStream::connect(address)?;

    // The whole transfer.
    let source = Source::file(&file, ..)?;
    let sink = Sink::stream(&socket)?;
    let receipt = transfer(source, sink)?;
    drop(socket);
    println!(
        "{} bytes: {} moved, {} copied, {} unknown",
        receipt.total(),
        receipt.moved(),
        receipt.copied(),
        receipt.unknown()
    );
    if let Some(reason) = receipt.reason() {
        println!("{reason}: {}", reason.description());
    }

    let received = reader.join().expect("the reader does not panic")?;
    assert_eq!(received, receipt.total(), "every byte was delivered");
    Ok(())
}
