//! curl as a client: the bytes that it receives pass through its memory.

use crate::harness::{Trace, numbers};
use crate::nginx::Server;
use crate::totals::{MEMORY, TCP, assert_both, copied, file};

const LEN: usize = (2 << 20) + 77;

#[test]
fn curl_copies_what_it_downloads_into_memory_and_into_its_file() {
    const TEST: &str = "curl_copies_what_it_downloads_into_memory_and_into_its_file";
    let Some(mut trace) = Trace::start(TEST, &["nginx", "curl"]) else {
        return;
    };
    trace.file("a.bin", LEN);
    let server = Server::start(&mut trace, false, "sendfile on;");
    let url = format!("http://{}/a.bin", server.address);
    trace.run(&format!(
        "exec curl -sS -o got.bin -w '%{{size_header}} %{{size_download}} %{{size_request}}' {url} >figures"
    ));
    server.stop(&mut trace);
    let figures = trace.path("figures");
    let all = numbers(&figures);
    let [headers, body, request] = all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(body, LEN as u64);
    let got = trace.path("got.bin");
    let report = trace.finish();
    assert_both(&report, TCP, MEMORY, &copied(headers + body));
    assert_both(&report, MEMORY, TCP, &copied(request));
    assert_both(&report, MEMORY, file(&got), &copied(body));
    let said = format!("{headers} {body} {request}").len() as u64;
    assert_both(&report, MEMORY, file(&figures), &copied(said));
}

#[test]
fn curl_discards_what_it_writes_to_dev_null() {
    const TEST: &str = "curl_discards_what_it_writes_to_dev_null";
    let Some(mut trace) = Trace::start(TEST, &["nginx", "curl"]) else {
        return;
    };
    trace.file("a.bin", LEN);
    let server = Server::start(&mut trace, false, "sendfile on;");
    let url = format!("http://{}/a.bin", server.address);
    trace.run(&format!(
        "exec curl -sS -o /dev/null -w '%{{size_header}}' {url} >figures"
    ));
    server.stop(&mut trace);
    let headers = numbers(&trace.path("figures"))[0];
    let report = trace.finish();
    assert_both(&report, TCP, MEMORY, &copied(headers + LEN as u64));
    let null = crate::totals::any(&zctrace_report::EndpointKind::Null);
    let mut wanted = zctrace_report::Account::default();
    wanted.excluded.discarded = LEN as u64;
    assert_both(&report, MEMORY, null, &wanted);
}
