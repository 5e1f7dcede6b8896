//! The same for machines.

use serde_json::{Value, json};

use super::cost::Measured;
use super::{Findings, Tried};

/// What was found. Schedule are nanoseconds.
pub(super) fn json(findings: &Findings) -> String {
    let mends = findings.mends();
    let to_mend: Vec<Value> = mends
        .iter()
        .map(|one| json!({ "what": one.what, "cause": one.cause, "mend": one.steps }))
        .collect();
    let types = match &findings.types {
        Ok(types) => json!({
            "path": types.path.display().to_string(),
            "found": types.found,
            "missing": types.missing,
        }),
        Err((cause, mend)) => json!({ "cause": cause, "mend": mend }),
    };
    let settings: serde_json::Map<String, Value> = findings
        .settings
        .iter()
        .map(|setting| (setting.name.to_owned(), json!(setting.value)))
        .collect();
    let all = json!({
        "schema": "zctrace-doctor/1.0",
        "ready": mends.is_empty(),
        "to_mend": to_mend,
        "privileges": {
            "uid": findings.privileges.uid,
            "missing": findings.privileges.missing,
            "sys_ptrace": findings.privileges.others,
        },
        "kernel": findings.kernel,
        "object": zctrace_probes::selftest::object_id(),
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

fn measured(measured: Measured) -> Value {
    json!({ "ns": measured.ns, "noise_ns": measured.noise_ns })
}

fn programs(findings: &Findings) -> Value {
    match &findings.loaded {
        Tried::No(why) => json!({ "not_tried": why }),
        Tried::Failed(cause, mend, log) => json!({ "cause": cause, "mend": mend, "verifier": log }),
        Tried::Done(loaded) => {
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
                "load_and_attach": measured(loaded.took),
                "detach": measured(loaded.away),
            })
        }
    }
}

fn cost(findings: &Findings) -> Value {
    let Tried::Done(cost) = &findings.cost else {
        return Value::Null;
    };
    json!({
        "bare_syscall": measured(cost.bare),
        "added_to_every_syscall": measured(cost.tax),
        "bare_splice": measured(cost.splice),
        "added_to_a_traced_splice": measured(cost.traced),
        "reader_for_a_traced_splice": measured(cost.reader),
        "ring_bytes": cost.ring_bytes,
        "ring_bytes_for_a_traced_splice": cost.call_bytes,
        "ring_holds_calls": cost.holds(),
        "calls_per_second_without_loss": cost.rate(),
    })
}
