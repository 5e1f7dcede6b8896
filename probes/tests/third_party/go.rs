//! A proxy and a file server of Go's standard library, which listen on `[::]`.

use std::path::Path;

use rustix::process::Signal;
use zctrace_report::{Certificate, EndpointKind};

use crate::harness::{Trace, build, free_address, numbers};
use crate::mounted::Mounted;
use crate::nginx::Server;
use crate::totals::{MEMORY, PIPE, TCP, any, assert_both, copied, edges, file, flows, moved, overview};

/// Not a whole number of pages, and more than a socket's buffer.
const LEN: usize = (3 << 20) + 123;
/// Bytes that net/http at most sends from memory together with the headers: as many as it would
/// need to learn the type of the content.
const SNIFFED: u64 = 512;

/// Builds the program without a module, the network or C.
fn build_relay(dir: &Path) -> Mounted {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/third_party/programs/relay.go");
    let go = [
        ("GOCACHE", cache),
        ("GOPATH", cache),
        ("GO111MODULE", "off"),
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("CGO_ENABLED", "0"),
    ];
    build(dir, &["go", "build", "-o", "relay", source], &go);
    Mounted::default()
}

#[test]
fn go_proxy_moves_what_it_splices_between_ipv4_and_its_ipv6_socket() {
    const TEST: &str = "go_proxy_moves_what_it_splices_between_ipv4_and_its_ipv6_socket";
    let programs = ["go", "nginx", "curl"];
    let Some(mut trace) = Trace::start_in(TEST, &programs, |dir| Ok(build_relay(dir))) else {
        return;
    };
    let source = trace.file("a.bin", LEN);
    let server = Server::start(&mut trace, true, "sendfile on; keepalive_timeout 0;");
    let front = free_address();
    let proxy = trace.spawn(&format!(
        "exec ./relay relay {} {} >passed",
        front.port(),
        server.address
    ));
    trace.until_listening_on_any(front.port());
    let client = trace.spawn(&format!(
        "exec curl -sS -o /dev/null -w '%{{size_header}} %{{size_download}} %{{size_request}}' \
         http://{front}/a.bin >figures"
    ));
    trace.wait(client);
    trace.wait(proxy);
    server.stop(&mut trace);
    let figures = numbers(&trace.path("figures"));
    let [headers, body, request] = figures[..] else {
        panic!("{figures:?}")
    };
    assert_eq!(body, LEN as u64);
    let response = headers + body;
    assert_eq!(numbers(&trace.path("passed")), [request, response]);
    let report = trace.finish();

    assert_both(&report, file(&source), TCP, &moved(body));
    // nginx wrote the headers, curl the request. Both ends received into memory.
    assert_both(&report, MEMORY, TCP, &copied(headers + request));
    assert_both(&report, TCP, MEMORY, &copied(request + response));
    // Each byte went through a pipe of the proxy. The kernel may copy the tails of packets into it
    // (net/core/skbuff.c: linear_to_page()), which depends on timing.
    let both_ways = request + response;
    assert_eq!(edges(&report, PIPE, TCP), moved(both_ways), "{}", overview(&report));
    let into = edges(&report, TCP, PIPE);
    assert_eq!(into.moved + into.copied, both_ways, "{}", overview(&report));
    assert!(into.copied < both_ways / 100, "{}", overview(&report));
    assert_eq!(flows(&report, TCP, TCP), into, "{}", overview(&report));
    assert_eq!(flows(&report, any(&EndpointKind::Pipe), TCP).total(), 0);
    // Addresses are those of IPv4 on each side, so the two sides of a connection are one.
    for flow in report.flows.iter().filter(|flow| flow.process == "relay") {
        for end in [&flow.from, &flow.to] {
            assert!(
                end.kind != EndpointKind::Tcp || end.name.starts_with("127."),
                "{flow:#?}"
            );
        }
    }
}

#[test]
fn go_file_server_moves_files_that_it_sends_by_sendfile() {
    const TEST: &str = "go_file_server_moves_files_that_it_sends_by_sendfile";
    let Some(mut trace) = Trace::start_in(TEST, &["go", "curl"], |dir| Ok(build_relay(dir))) else {
        return;
    };
    // Go knows the type of this name without the machine's table of types.
    let source = trace.file("a.html", LEN);
    let address = free_address();
    let server = trace.spawn(&format!("exec ./relay serve {} .", address.port()));
    trace.until_listening_on_any(address.port());
    let client = trace.shell(&format!(
        "exec curl -sS -o /dev/null -w '%{{size_header}} %{{size_download}} %{{size_request}}' \
         http://{address}/a.html >figures"
    ));
    trace.wait(client);
    trace.end(server, Signal::TERM);
    let figures = numbers(&trace.path("figures"));
    let [headers, body, request] = figures[..] else {
        panic!("{figures:?}")
    };
    assert_eq!(body, LEN as u64);
    let report = trace.finish();

    let sniffed = flows(&report, file(&source), MEMORY).total();
    assert!(sniffed <= SNIFFED, "{}", overview(&report));
    assert_both(&report, file(&source), TCP, &moved(body - sniffed));
    assert_both(&report, file(&source), MEMORY, &copied(sniffed));
    assert_both(&report, MEMORY, TCP, &copied(headers + sniffed));
    assert_both(&report, TCP, MEMORY, &copied(request));
    let sent = report.flows.iter().find(|flow| flow.account.moved > 0).expect("a flow");
    assert_eq!(sent.certificate.as_ref().and_then(Certificate::moved_weakness), None);
}
