//! haproxy between two connections, which it splices through a pipe.

use rustix::process::Signal;
use zctrace_contract::Reason;
use zctrace_report::EndpointKind;

use crate::harness::{Trace, free_address, numbers};
use crate::nginx::Server;
use crate::totals::{
    MEMORY, PIPE, TCP, any, assert_both, bytes_with_reasons, copied, edges, file, flows, moved, overview,
};

const LEN: usize = 16 << 20;

#[test]
fn haproxy_moves_what_it_splices() {
    const TEST: &str = "haproxy_moves_what_it_splices";
    let Some(mut trace) = Trace::start(TEST, &["haproxy", "nginx", "curl"]) else {
        return;
    };
    let source = trace.file("a.bin", LEN);
    let server = Server::start(&mut trace, true, "sendfile on;");
    let front = free_address();
    let config = format!(
        "global\n  maxconn 64\n  nbthread 1\n\
         defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 10s\n  timeout server 10s\n\
         listen all\n  bind {front}\n  option splice-response\n  server nginx {}\n",
        server.address
    );
    trace.text("haproxy.cfg", &config);
    let proxy = trace.spawn("exec haproxy -db -q -f haproxy.cfg");
    trace.until_listening(front);
    let client = trace.shell(&format!(
        "curl -sS -o /dev/null -w '%{{size_header}} %{{size_download}} %{{size_request}}' \
         http://{front}/a.bin >figures"
    ));
    trace.wait(client);
    proxy.signal(Signal::USR1);
    trace.wait(proxy);
    server.stop(&mut trace);
    let all = numbers(&trace.path("figures"));
    let [headers, body, request] = all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(body, LEN as u64);
    let report = trace.finish();

    // nginx: the request from haproxy, the headers and the file to it.
    assert_both(&report, file(&source), TCP, &moved(body));
    assert_both(&report, MEMORY, TCP, &copied(headers + request));
    // The request was received twice, and forwarded once.
    assert_both(&report, TCP, MEMORY, &copied(request * 2));
    // Every byte of the response went through the pipe, and all of them left it by reference.
    let spliced = headers + body;
    assert_eq!(edges(&report, PIPE, TCP), moved(spliced), "{}", overview(&report));
    // The kernel may copy the tails of packets into the pipe: a packet of a few bytes can be in the
    // linear part of its skb when it is read, and only fragments are passed to pipes
    // (net/core/skbuff.c: linear_to_page()). How many depends on timing.
    let into = edges(&report, TCP, PIPE);
    assert_eq!(
        (into.total(), into.moved + into.copied),
        (spliced, spliced),
        "{}",
        overview(&report)
    );
    let through = flows(&report, TCP, TCP);
    assert_eq!(through, into, "{}", overview(&report));
    assert_eq!(
        bytes_with_reasons(&report, TCP, TCP, &[Reason::KernelCopies]),
        into.copied
    );
    // Whole pages are never in the linear part, and nearly all of a file is whole pages.
    assert!(into.copied < spliced / 100, "{}", overview(&report));
    assert_eq!(
        flows(&report, any(&EndpointKind::Pipe), TCP).total(),
        0,
        "{}",
        overview(&report)
    );
}
