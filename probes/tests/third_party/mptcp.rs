//! MPTCP by python3: the socket has the kind of TCP's, and copies what is spliced to it.

use zctrace_contract::Reason;
use zctrace_report::EndpointKind;

use crate::harness::{Trace, numbers};
use crate::mounted::Mounted;
use crate::totals::{MEMORY, TCP, any, assert_both, bytes_with_reasons, copied, file, flows, overview};

const LEN: u64 = (2 << 20) + 321;
/// Bytes that the far side sends first.
const GREETING: u64 = 777;

const SCRIPT: &str = "
import socket, threading
def mptcp():
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
listener = mptcp()
listener.bind(('127.0.0.1', 0))
listener.listen()
got = 0
def receive():
    global got
    far, _ = listener.accept()
    far.sendall(b'y' * 777)
    while part := far.recv(65536):
        got += len(part)
thread = threading.Thread(target=receive)
thread.start()
near = mptcp()
near.connect(listener.getsockname())
greeting = 0
while greeting < 777:
    greeting += len(near.recv(777))
with open('a.bin', 'rb') as source:
    sent = near.sendfile(source)
near.close()
thread.join()
open('figures', 'w').write(f'{sent} {got} {greeting}')
";

#[test]
fn sendfile_to_mptcp_copies() {
    const TEST: &str = "sendfile_to_mptcp_copies";
    let trace = Trace::start_in(TEST, &["python3"], |_| {
        match std::fs::read_to_string("/proc/sys/net/mptcp/enabled") {
            Ok(text) if text.trim() == "1" => Ok(Mounted::default()),
            _ => Err("this kernel has no MPTCP".to_owned()),
        }
    });
    let Some(mut trace) = trace else {
        return;
    };
    let source = trace.file("a.bin", LEN as usize);
    trace.text("it.py", SCRIPT);
    trace.run("exec python3 -I -S -B it.py");
    assert_eq!(numbers(&trace.path("figures")), [LEN, LEN, GREETING]);
    let report = trace.finish();

    let socket = any(&EndpointKind::Socket);
    assert_both(&report, file(&source), socket, &copied(LEN));
    assert_eq!(
        bytes_with_reasons(&report, file(&source), socket, &[Reason::KernelCopies]),
        LEN
    );
    assert_both(&report, MEMORY, socket, &copied(GREETING));
    assert_both(&report, socket, MEMORY, &copied(LEN + GREETING));
    // Neither the subflows nor a socket of the same port is taken for TCP.
    assert_eq!(flows(&report, file(&source), TCP).total(), 0, "{}", overview(&report));
    assert_eq!(flows(&report, TCP, MEMORY).total(), 0, "{}", overview(&report));
}
