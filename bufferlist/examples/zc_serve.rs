//! Minimal HTTP server for static files. The header is written from memory and the file follows as
//! pages. The header is sent with "more follows", so that both share their first packet.
//!
//! ```text
//! cargo run -p bufferlist --example zc_serve                    serves three requests of its own, and exits
//! cargo run -p bufferlist --example zc_serve DIRECTORY [COUNT]  serves COUNT requests on loopback
//! ```

use bufferlist::{BufferList, Sink, Source, Transfer};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread;

/// Returns the requested file, if its path is below `root`.
fn requested_file(request: &str, root: &Path) -> Option<PathBuf> {
    let path = request.strip_prefix("GET /")?.split(' ').next()?;
    // Only plain names are allowed: no `..`, no root.
    let is_plain = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| root.join(path))
}

/// Answers one request, and closes the connection.
fn answer(socket: &TcpStream, root: &Path) -> io::Result<()> {
    let mut lines = BufReader::new(socket).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The other header lines are not needed.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}

    let file = requested_file(&request, root).and_then(|path| File::open(path).ok());
    let Some(file) = file.filter(|file| file.metadata().is_ok_and(|meta| meta.is_file())) else {
        return (&*socket).write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let len = file.metadata()?.len();
    let mut header = BufferList::new();
    write!(
        header,
        "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    )?;
    let mut transfer = Transfer::new(Source::file(&file, ..len)?, Sink::stream(socket)?);
    transfer.prefix(header);
    let receipt = transfer.run()?;
    println!(
        "{request}: {} bytes, {} moved, {} copied (the header), {} unknown",
        receipt.total(),
        receipt.moved(),
        receipt.copied(),
        receipt.unknown()
    );
    Ok(())
}

fn serve(listener: &TcpListener, root: &Path, count: usize) -> io::Result<()> {
    for socket in listener.incoming().take(count) {
        if let Err(error) = answer(&socket?, root) {
            // A client that has disconnected must not stop the server.
            eprintln!("{error}");
        }
    }
    Ok(())
}

/// Returns the reply that a client receives.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut reply = String::new();
    socket.read_to_string(&mut reply)?;
    Ok(reply)
}

fn main() -> io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    if let Some(root) = args.next() {
        let count = args.next().and_then(|count| count.to_str()?.parse().ok());
        println!("http://{address}/");
        return serve(&listener, Path::new(&root), count.unwrap_or(usize::MAX));
    }

    let root = tempfile::tempdir()?;
    let text = "pages go, bytes stay\n".repeat(20_000);
    std::fs::write(root.path().join("text"), &text)?;
    let client = thread::spawn(move || -> io::Result<[String; 3]> {
        Ok([get(address, "text")?, get(address, "none")?, get(address, "../text")?])
    });
    serve(&listener, root.path(), 3)?;
    let [found, none, outside] = client.join().expect("the client does not panic")?;
    assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with(&text));
    assert!(none.starts_with("HTTP/1.1 404") && outside.starts_with("HTTP/1.1 404"));
    Ok(())
}
