//! haproxy between two connections: it splices what it sees streaming, and copies the rest.

use crate::harness::{Trace, free_port, numbers};
use crate::nginx::Server;
use crate::sums::{MEMORY, PIPE, TCP, assert_both, copied, edges, flows, moved, overview};
use rustix::process::Signal;

const LEN: usize = 16 << 20;

#[test]
fn haproxy_moves_what_it_splices() {
    const TEST: &str = "haproxy_moves_what_it_splices";
    let Some(mut trace) = Trace::start(TEST, &["haproxy", "nginx", "curl"]) else { return };
    trace.file("a.bin", LEN);
    let server = Server::start(&mut trace, true, "sendfile on;");
    let front = free_port();
    let config = format!(
        "global\n  maxconn 64\n  nbthread 1\n\
         defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 10s\n  timeout server 10s\n  option splice-response\n\
         listen all\n  bind 127.0.0.1:{front}\n  server nginx 127.0.0.1:{}\n",
        server.port
    );
    trace.text("haproxy.cfg", &config);
    let proxy = trace.spawn("exec haproxy -db -q -f haproxy.cfg");
    trace.until_listening(front);
    let client = trace.shell(&format!(
        "curl -sS -o /dev/null -w '%{{size_header}} %{{size_download}} %{{size_request}}\\n' \
         http://127.0.0.1:{front}/a.bin >figures"
    ));
    trace.wait(client);
    proxy.signal(Signal::USR1);
    trace.wait(proxy);
    server.stop(&mut trace);
    let all = numbers(&trace.path("figures"));
    let report = trace.finish();
    eprintln!("{all:?}\n{}", overview(&report));
}
