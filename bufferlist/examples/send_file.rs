//! Moves a file to a socket, and prints what became of its bytes. The receipt says *moved* only where the library has
//! shown, on this boot of this kernel, that pages go from the one kind of end to the other.
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
    // Without an argument: this program itself, which is a file of some megabytes.
    let path = std::env::args_os().nth(1).unwrap_or("/proc/self/exe".into());
    let file = File::open(path)?;

    // Somebody who takes it all, at the other end of a connection.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let reader = thread::spawn(move || -> io::Result<u64> {
        let (mut socket, _) = listener.accept()?;
        let mut seen = Vec::new();
        socket.read_to_end(&mut seen)?;
        Ok(seen.len() as u64)
    });
    let socket = TcpStream::connect(address)?;

    // The five lines: from where, to where, all of it.
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

    let seen = reader.join().expect("the reader does not panic")?;
    assert_eq!(seen, receipt.total(), "what was sent has arrived");
    Ok(())
}
