//! Tests of the gate: no assertion passes over what was not observed.

use std::os::fd::AsFd;

use zctrace_report::ProofKind;

use super::*;

/// Port above the range that the kernel gives to clients.
const PORT: &str = "ZCTRACE_TEST_PORT";

/// Bytes that are sent; less than one interval of digests.
const SENT: usize = 65_536;

/// If this is the traced process, sends a file over a connection that a process holds open which
/// outlives this one, for as many seconds as the variable says.
fn leave_if_traced() {
    let Ok(seconds) = std::env::var(SEND) else { return };
    let path = std::env::temp_dir().join(format!("zctrace-gate-{}", std::process::id()));
    fs::write(&path, vec![7; SENT]).expect("a file");
    let file = File::open(&path).expect("the file");
    fs::remove_file(&path).expect("removed");
    let port: u16 = std::env::var(PORT).map_or(0, |port| port.parse().expect("a port"));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    let sender = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
    let (mut receiver, _) = listener.accept().expect("accepted");
    let mut sent = 0;
    while sent < SENT {
        sent += rustix::fs::sendfile(&sender, &file, None, SENT - sent).expect("sendfile");
    }
    receiver.read_exact(&mut vec![0; SENT]).expect("received");
    if seconds != "0" {
        // A duplicate is inherited by the new program.
        let inherited = rustix::io::dup(sender.as_fd()).expect("a descriptor");
        let mut sleep = Command::new("sleep");
        sleep
            .arg(&seconds)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = sleep.spawn().expect("sleep");
        // This process exits before the child, which keeps the duplicate.
        std::mem::forget((child, inherited));
    }
    std::process::exit(0);
}

/// Ends the process that a report names as `sleep (PID)`, and returns the name and number.
fn end_sleep(printed: &str) -> String {
    let joined = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = joined
        .split_once("sleep (")
        .unwrap_or_else(|| panic!("not named\n{printed}"));
    let pid = rest.split(')').next().expect("a number").to_owned();
    let number = pid
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a PID");
    rustix::process::kill_process(number, rustix::process::Signal::KILL).expect("it runs");
    format!("sleep ({pid})")
}

#[test]
fn process_that_outlives_the_command_leaves_the_judgment_open() {
    const TEST: &str = "gate::process_that_outlives_the_command_leaves_the_judgment_open";
    leave_if_traced();
    if !possible(TEST) {
        return;
    }
    let rules = ["assert", "--to", "tcp", "--max-copied", "0"];
    for more in [&[][..], &["--wait=1ms"]] {
        let output = traced(TEST, &[&rules[..], more].concat(), "600");
        let printed = both(&output);
        end_sleep(&printed);
        assert_eq!(output.status.code(), Some(3), "{printed}");
        assert!(
            printed.contains("INCONCLUSIVE   1 process was still running when CMD ended: sleep ("),
            "{printed}"
        );
    }
    let output = traced(TEST, &[&rules[..], &["--format", "junit"]].concat(), "600");
    let printed = both(&output);
    end_sleep(&printed);
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.contains("<error message=\"inconclusive: "), "{printed}");
    // With time enough the same program passes.
    let output = traced(TEST, &[&rules[..], &["--wait"]].concat(), "1");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
}

#[test]
fn open_connection_of_less_than_a_digest_interval_has_a_consistent_report() {
    const TEST: &str = "gate::open_connection_of_less_than_a_digest_interval_has_a_consistent_report";
    leave_if_traced();
    if !possible(TEST) {
        return;
    }
    let output = traced(TEST, &["run", "--level", "digest", "--format", "json"], "600");
    let printed = both(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let json = &printed[printed.find('{').expect("a report")..];
    let report = Report::from_json(json).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    let running = &report.coverage.still_running;
    assert_eq!(running.len(), 1, "{running:?}");
    end_sleep(&format!("{} ({})", running[0].name, running[0].pid));
    assert_eq!(report.check(), Ok(()));
    assert!(report.coverage.violations.is_empty());
    let sent = report
        .flows
        .iter()
        .find(|flow| flow.to.kind == EndpointKind::Tcp)
        .expect("the flow");
    assert_eq!(sent.account.moved, SENT as u64, "{sent:?}");
    let certificate = sent.certificate.as_ref().expect("a certificate");
    assert!(certificate.hops.iter().any(|hop| hop.proof == ProofKind::Digest));
    let digest = certificate.digest.as_ref().expect("its sums");
    assert!(
        digest.checkpoints > 0 && digest.equal == digest.checkpoints,
        "{digest:?}"
    );
}

#[test]
fn port_of_the_service_matches_whatever_the_clients_port_is() {
    const TEST: &str = "gate::port_of_the_service_matches_whatever_the_clients_port_is";
    leave_if_traced();
    if !possible(TEST) {
        return;
    }
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (61_000..65_000).find(is_free).expect("a free port");
    for (to, code) in [(port, 0), (port + 1, 3)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zctrace"));
        command.args(["assert", "--to", &format!("tcp::{to}"), "--max-copied", "0", "--"]);
        let output = command
            .arg(std::env::current_exe().expect("this test"))
            .args(["--exact", TEST, "--nocapture"])
            .env(SEND, "0")
            .env(PORT, port.to_string())
            .env("TMPDIR", std::env::temp_dir())
            .env_remove("SUDO_UID")
            .stdin(Stdio::null())
            .output()
            .expect("zctrace can be run");
        assert_eq!(output.status.code(), Some(code), "{to}\n{}", both(&output));
    }
}
