//! A server on liburing: requests of `io_uring` that do what recv(2), send(2), read(2) and write(2)
//! do.

use zctrace_contract::Reason;

use crate::harness::{Trace, build, free_address, numbers};
use crate::mounted::Mounted;
use crate::totals::{MEMORY, TCP, assert_both, bytes_with_reasons, copied, overview};

const LEN: u64 = (1 << 20) + 77;

fn echo(test: &str, way: &str) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/third_party/programs/echo.c");
    let needs = ["cc", "python3", "/usr/include/liburing.h"];
    let trace = Trace::start_in(test, &needs, |dir| {
        build(dir, &["cc", "-O1", "-o", "echo", source, "-luring"], &[]);
        Ok(Mounted::default())
    });
    let Some(mut trace) = trace else {
        return;
    };
    // One thread reads while the other sends, because neither side's buffers hold all bytes.
    let client = "
import os, socket, sys, threading
near = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
data = os.urandom(int(sys.argv[2]))
def send():
    near.sendall(data)
    near.shutdown(socket.SHUT_WR)
thread = threading.Thread(target=send)
thread.start()
got = b''
while part := near.recv(65536):
    got += part
thread.join()
assert got == data
";
    trace.text("client.py", client);
    let port = free_address().port();
    let server = trace.spawn(&format!("exec ./echo {port} {way} >figures"));
    trace.until_listening(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port));
    let client = trace.shell(&format!("exec python3 -I -S -B client.py {port} {LEN}"));
    trace.wait(client);
    trace.wait(server);
    assert_eq!(numbers(&trace.path("figures")), [LEN, LEN]);
    let report = trace.finish();
    assert_both(&report, TCP, MEMORY, &copied(LEN));
    assert_both(&report, MEMORY, TCP, &copied(LEN));
    assert_eq!(bytes_with_reasons(&report, TCP, MEMORY, &[Reason::IntoMemory]), LEN);
    let from_memory = [Reason::FromMemory, Reason::SmallWrite];
    assert_eq!(bytes_with_reasons(&report, MEMORY, TCP, &from_memory), LEN);
    // No call of the server itself received or sent.
    let names = report
        .edges
        .iter()
        .filter(|edge| edge.pid.is_some() && edge.account.total() == LEN);
    for edge in names {
        assert!(edge.call.to_string().contains("io_uring"), "{}", overview(&report));
    }
}

#[test]
fn liburing_server_copies_what_it_receives_and_sends() {
    echo("liburing_server_copies_what_it_receives_and_sends", "recv");
}

#[test]
fn liburing_server_copies_what_it_reads_and_writes() {
    echo("liburing_server_copies_what_it_reads_and_writes", "read");
}
