//! Transfers as futures: every byte, every wake-up, and no loss when a future is dropped.

use bufferlist::rt::InlineFile;
use bufferlist::{ErrorKind, Limits, Pool, Receipt, Sink, Source, Transfer};
use std::fs::File;
use std::io::Write;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream, unix::pipe};

/// Returns bytes in which a missing, duplicated or displaced one is visible.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("write");
    file
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("address"))
        .await
        .expect("connect");
    (near, listener.accept().await.expect("accept").0)
}

async fn read_all(mut from: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.expect("read");
    bytes
}

/// A limit that only a hang reaches.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .expect("it hangs")
}

#[tokio::test]
async fn file_to_socket_with_a_slow_reader() {
    let bytes = pattern(3 << 20);
    let (near, mut far) = tcp().await;
    let file = file_of(&bytes);
    let sending = tokio::spawn(async move {
        let mut transfer = Transfer::new(Source::file(InlineFile(file), ..)?, Sink::stream(near)?);
        let receipt = transfer.drive().await?;
        transfer.counts().assert_no_copies();
        Ok::<Receipt, bufferlist::Error>(receipt)
    });
    let mut received = Vec::new();
    let mut buffer = vec![0; 7_001];
    soon(async {
        loop {
            match far.read(&mut buffer).await.expect("read") {
                0 => break,
                got => received.extend_from_slice(&buffer[..got]),
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(received == bytes, "{} bytes of {}", received.len(), bytes.len());
    assert_eq!(
        sending.await.expect("task").expect("transfer").total(),
        bytes.len() as u64
    );
}

/// Each message is sent only after the previous one was delivered: a lost wake-up is a hang.
#[tokio::test]
async fn no_wakeup_is_lost() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let (upstream, mut backend) = tcp().await;
    let relay = tokio::spawn(async move {
        let mut transfer = Transfer::new(Source::stream(server)?, Sink::stream(upstream)?);
        transfer.drive().await
    });
    let mut total = 0;
    for round in 0..2000_usize {
        let message = pattern(1 + round * 37 % 9000);
        client.write_all(&message).await.expect("write");
        let mut received = vec![0; message.len()];
        soon(backend.read_exact(&mut received)).await.expect("read");
        assert!(received == message, "round {round}");
        total += message.len() as u64;
    }
    drop(client);
    assert_eq!(soon(relay).await.expect("task").expect("relay").total(), total);
}

#[tokio::test]
async fn dropped_future_loses_no_bytes() {
    let bytes = pattern(2 << 20);
    let (near, far) = UnixStream::pair().expect("pair");
    let file = file_of(&bytes);
    let mut transfer = Transfer::new(
        Source::file(InlineFile(file), ..).expect("source"),
        Sink::stream(&near).expect("sink"),
    );
    let mut received = Vec::new();
    let mut buffer = vec![0; 60_000];
    let mut dropped = 0;
    // The peer does not read while the transfer is polled, so the future is repeatedly dropped with
    // bytes in flight.
    let receipt = loop {
        tokio::select! {
            biased;
            done = transfer.drive() => break done.expect("drive"),
            () = tokio::time::sleep(Duration::from_millis(1)) => dropped += 1,
        }
        while let Ok(got) = far.try_read(&mut buffer) {
            received.extend_from_slice(&buffer[..got]);
        }
    };
    assert!(dropped >= 4, "dropped {dropped} times");
    assert_eq!(receipt.total(), bytes.len() as u64);
    drop(transfer);
    drop(near);
    received.extend(soon(read_all(far)).await);
    assert!(received == bytes);
}

#[tokio::test]
async fn tokio_pipes_are_endpoints() {
    let bytes = pattern(300_000);
    let (mut feed, from) = pipe::pipe().expect("pipe");
    let (to, drain) = pipe::pipe().expect("pipe");
    let sent = bytes.clone();
    let feeding = tokio::spawn(async move { feed.write_all(&sent).await });
    let moving = tokio::spawn(async move {
        let mut transfer = Transfer::new(Source::stream(from)?, Sink::stream(to)?);
        transfer.drive().await
    });
    assert!(soon(read_all(drain)).await == bytes);
    feeding.await.expect("task").expect("write");
    assert_eq!(moving.await.expect("task").expect("drive").total(), 300_000);
}

#[tokio::test]
async fn many_transfers_on_one_thread_with_few_pipes() {
    let pool = Pool::new(4, 1 << 20);
    let bytes = pattern(200_000);
    let mut tasks = Vec::new();
    for number in 0..60_usize {
        let (near, far) = UnixStream::pair().expect("pair");
        let file = file_of(&bytes);
        let pool = if number % 2 == 0 {
            pool.clone()
        } else {
            Pool::new(1, 1 << 20).wait_when_empty()
        };
        tasks.push(tokio::spawn(async move {
            let mut transfer = Transfer::new(Source::file(InlineFile(file), ..)?, Sink::stream(near)?).pool(&pool);
            transfer.drive().await
        }));
        let expected = bytes.clone();
        tasks.push(tokio::spawn(async move {
            assert!(read_all(far).await == expected);
            Ok(Receipt::default())
        }));
    }
    for task in tasks {
        soon(task).await.expect("task").expect("transfer");
    }
    assert_eq!((pool.stats().in_use, pool.stats().mismatched), (0, 0));
}

#[tokio::test]
async fn errors_carry_the_delivered_receipt() {
    let (near, far) = UnixStream::pair().expect("pair");
    drop(far);
    let file = file_of(&pattern(100_000));
    let mut transfer = Transfer::new(
        Source::file(InlineFile(file), ..).expect("source"),
        Sink::stream(near).expect("sink"),
    )
    .limits(Limits::default().chunk(30_000));
    let error = soon(transfer.drive()).await.unwrap_err();
    assert_eq!((error.kind(), error.receipt().total()), (ErrorKind::Closed, 0));
    assert_eq!(transfer.in_flight().len(), 30_000, "what was taken is still there");
}
