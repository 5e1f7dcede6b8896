//! JSON output of the doctor.

use serde_json::{Value, json};

use super::cost::Measurement;
use super::{Attempt, Findings};

/// Renders the findings as JSON. Times are in nanoseconds.
pub(super) fn to_json(findings: &Findings) -> String {
    let problems = findings.problems();
    let problems_json: Vec<Value> = problems
        .iter()
        .map(|one| json!({ "area": one.area, "cause": one.cause, "hints": one.hints }))
        .collect();
    let types = match &findings.types {
        Ok(types) => json!({
            "path": types.path.display().to_string(),
            "found": types.found,
            "missing": types.missing,
        }),
        Err((cause, mend)) => json!({ "cause": cause, "hint": mend }),
    };
    let settings: serde_json::Map<String, Value> = findings
        .settings
        .iter()
        .map(|setting| (setting.name.to_owned(), json!(setting.value)))
        .collect();
    let all = json!({
        "schema": "zctrace-doctor/1.0",
        "ready": problems.is_empty(),
        "problems": problems_json,
        "privileges": {
            "uid": findings.privileges.uid,
            "missing": findings.privileges.missing,
            "sys_ptrace": findings.privileges.can_trace_other_users,
        },
        "kernel": findings.kernel,
        "object": zctrace_probes::probe::object_id(),
        "types": types,
        "lockdown": findings.lockdown,
        "settings": settings,
        "programs": programs(findings),
        "cost": cost(findings),
        "selftest": findings.selftest,
        "coverage": findings.coverage,
    });
    format!("{all:#}\n")
}

fn measurement_json(measured: Measurement) -> Value {
    json!({ "ns": measured.ns, "noise_ns": measured.noise_ns })
}

fn programs(findings: &Findings) -> Value {
    match &findings.loaded {
        Attempt::Skipped(why) => json!({ "not_tried": why }),
        Attempt::Failed(cause, mend, log) => json!({ "cause": cause, "hint": mend, "verifier": log }),
        Attempt::Done(loaded) => {
            let of = |program: &zctrace_probes::probe::Program| {
                json!({
                    "name": program.name,
                    "attached": program.attached,
                    "verified_instructions": program.verified_instructions,
                })
            };
            let not = loaded.left_out.iter();
            json!({
                "loaded": loaded.programs.iter().map(of).collect::<Vec<_>>(),
                "not_loaded": not.map(|(name, why)| json!({ "name": name, "why": why })).collect::<Vec<_>>(),
                "load_and_attach": measurement_json(loaded.load_time),
                "detach": measurement_json(loaded.detach_time),
            })
        }
    }
}

fn cost(findings: &Findings) -> Value {
    let Attempt::Done(cost) = &findings.cost else {
        return Value::Null;
    };
    json!({
        "bare_syscall": measurement_json(cost.bare),
        "added_to_every_syscall": measurement_json(cost.syscall_overhead),
        "bare_splice": measurement_json(cost.splice),
        "added_to_a_traced_splice": measurement_json(cost.traced),
        "reader_for_a_traced_splice": measurement_json(cost.reader),
        "ring_bytes": cost.ring_bytes,
        "ring_bytes_for_a_traced_splice": cost.call_bytes,
        "ring_holds_calls": cost.capacity_calls(),
        "calls_per_second_without_loss": cost.max_calls_per_second(),
    })
}
