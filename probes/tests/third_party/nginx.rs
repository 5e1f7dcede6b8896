//! nginx with two workers, which serves a file with and without sendfile(2).

use std::net::SocketAddrV4;
use std::path::PathBuf;

use rustix::process::Signal;
use zctrace_contract::Reason;
use zctrace_report::{Certificate, Report};

use crate::harness::{Program, Trace, free_address, numbers};
use crate::totals::{
    MEMORY, TCP, any, assert_both, bytes_with_reasons, copied, direct_file, file, flows, moved, overview,
};

/// Not a whole number of pages, and more than a socket's buffer.
const LEN: usize = (3 << 20) + 123;

/// A server in the foreground, with all its files in the trace's directory.
pub(crate) struct Server {
    program: Program,
    pub(crate) address: SocketAddrV4,
}

impl Server {
    /// Starts it with additional configuration, traced or not.
    pub(crate) fn start(trace: &mut Trace, is_traced: bool, more: &str) -> Self {
        let address = free_address();
        let dir = trace.path("");
        let dir = dir.display();
        let config = format!(
            "daemon off; master_process on; worker_processes 2; user root; pid {dir}/nginx.pid; error_log /dev/null;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n\
             access_log off; {more}\n\
             client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
             uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
             server {{ listen {address}; root {dir}; }}\n\
             }}\n"
        );
        trace.text("nginx.conf", &config);
        let script = format!("exec nginx -e /dev/null -p {dir} -c {dir}/nginx.conf");
        let program = if is_traced {
            trace.spawn(&script)
        } else {
            trace.shell(&script)
        };
        trace.until_listening(address);
        Self { program, address }
    }

    /// Lets it finish its work and exit.
    pub(crate) fn stop(self, trace: &mut Trace) {
        self.program.signal(Signal::QUIT);
        trace.wait(self.program);
    }
}

/// Bytes that curl reports as sent and received, over all its requests.
struct Figures {
    headers: u64,
    bodies: u64,
    requests: u64,
}

fn ask(trace: &mut Trace, address: SocketAddrV4, path: &str, times: usize) -> Figures {
    let ask = format!(
        "curl -sS -o /dev/null -w '%{{size_header}} %{{size_download}} %{{size_request}}\\n' \
         http://{address}/{path} >>figures"
    );
    for _ in 0..times {
        let client = trace.shell(&ask);
        trace.wait(client);
    }
    let all = numbers(&trace.path("figures"));
    assert_eq!(all.len(), times * 3, "{all:?}");
    let sum = |column: usize| all.iter().skip(column).step_by(3).sum();
    Figures {
        headers: sum(0),
        bodies: sum(1),
        requests: sum(2),
    }
}

fn serve(test: &str, more: &str) -> Option<(Report, PathBuf, Figures)> {
    const TIMES: usize = 5;
    let mut trace = Trace::start(test, &["nginx", "curl"])?;
    if more.contains("directio") && !trace.is_on_ext4(test) {
        return None;
    }
    let path = trace.file("a.bin", LEN);
    let server = Server::start(&mut trace, true, more);
    let figures = ask(&mut trace, server.address, "a.bin", TIMES);
    assert_eq!(figures.bodies, (TIMES * LEN) as u64);
    server.stop(&mut trace);
    Some((trace.finish(), path, figures))
}

#[test]
fn nginx_with_sendfile_moves_the_file_and_copies_headers() {
    let Some((report, path, figures)) = serve("nginx_with_sendfile_moves_the_file_and_copies_headers", "sendfile on;")
    else {
        return;
    };
    assert_both(&report, file(&path), TCP, &moved(figures.bodies));
    assert_both(&report, MEMORY, TCP, &copied(figures.headers));
    let from_memory = [Reason::FromMemory, Reason::SmallWrite];
    assert_eq!(bytes_with_reasons(&report, MEMORY, TCP, &from_memory), figures.headers);
    assert_both(&report, TCP, MEMORY, &copied(figures.requests));
    assert_eq!(
        bytes_with_reasons(&report, TCP, MEMORY, &[Reason::IntoMemory]),
        figures.requests
    );
    assert_eq!(flows(&report, file(&path), MEMORY).total(), 0, "{}", overview(&report));
    for flow in report.flows.iter().filter(|flow| flow.account.moved > 0) {
        assert_eq!(
            flow.certificate.as_ref().and_then(Certificate::moved_weakness),
            None,
            "{flow:#?}"
        );
        assert!(flow.certificate.is_some(), "{flow:#?}");
        assert_eq!(flow.process, "nginx");
    }
}

#[test]
fn nginx_without_sendfile_copies_everything_twice() {
    let Some((report, path, figures)) = serve("nginx_without_sendfile_copies_everything_twice", "sendfile off;") else {
        return;
    };
    assert_both(&report, file(&path), MEMORY, &copied(figures.bodies));
    assert_both(&report, MEMORY, TCP, &copied(figures.headers + figures.bodies));
    assert_both(&report, TCP, MEMORY, &copied(figures.requests));
    let anything = zctrace_report::EndpointKind::File;
    assert_eq!(flows(&report, any(&anything), TCP).total(), 0, "{}", overview(&report));
}

#[test]
fn nginx_with_directio_lets_the_disk_fill_its_memory() {
    const TEST: &str = "nginx_with_directio_lets_the_disk_fill_its_memory";
    let Some((report, path, figures)) = serve(TEST, "sendfile off; directio 1m;") else {
        return;
    };
    // nginx reads the end of the file, which is not a whole block, through the page cache.
    let rest = flows(&report, file(&path), MEMORY).total();
    assert!(rest < figures.bodies / 10, "{}", overview(&report));
    assert_both(&report, direct_file(&path), MEMORY, &moved(figures.bodies - rest));
    assert_both(&report, file(&path), MEMORY, &copied(rest));
    assert_both(&report, MEMORY, TCP, &copied(figures.headers + figures.bodies));
}
