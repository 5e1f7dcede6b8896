//! The dependencies between the packages of the workspace are the intended ones, and the packages
//! that must build on any operating system depend on nothing that needs Linux.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Each package with the packages of the workspace that it depends on, tests excluded.
const ARROWS: [(&str, &[&str]); 11] = [
    ("zctrace-contract", &[]),
    ("zctrace-records", &[]),
    ("zctrace-report", &["zctrace-contract"]),
    (
        "zctrace-evidence",
        &["zctrace-contract", "zctrace-records", "zctrace-report"],
    ),
    (
        "zctrace-recording",
        &[
            "zctrace-contract",
            "zctrace-evidence",
            "zctrace-records",
            "zctrace-report",
        ],
    ),
    ("bufferlist", &["zctrace-contract"]),
    (
        "zctrace-probes",
        &[
            "bufferlist",
            "zctrace-contract",
            "zctrace-evidence",
            "zctrace-records",
            "zctrace-report",
        ],
    ),
    (
        "zctrace",
        &[
            "bufferlist",
            "zctrace-contract",
            "zctrace-evidence",
            "zctrace-probes",
            "zctrace-recording",
            "zctrace-report",
        ],
    ),
    (
        "zctrace-bench",
        &[
            "bufferlist",
            "zctrace-evidence",
            "zctrace-probes",
            "zctrace-recording",
            "zctrace-records",
        ],
    ),
    ("zctrace-test-support", &[]),
    ("xtask", &[]),
];

/// Packages that build on any operating system.
const PORTABLE: [&str; 5] = [
    "zctrace-contract",
    "zctrace-records",
    "zctrace-report",
    "zctrace-evidence",
    "zctrace-recording",
];

/// Packages that need Linux, and those that stand for I/O.
const FORBIDDEN_BELOW_PORTABLE: [&str; 7] = ["aya", "rustix", "bufferlist", "libc", "nix", "tokio", "memmap2"];

/// Package names by ID, and the IDs of the packages that each package depends on, tests excluded.
struct Graph {
    names: BTreeMap<String, String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of_the_workspace() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
        // Without the platforms that the lock file knows and this machine may not have downloaded.
        cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
        let output = cargo.current_dir(root).output().expect("cargo runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_str(&text).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let list = |value: &Value| value.as_array().expect("an array").clone();
        let mut graph = Self {
            names: BTreeMap::new(),
            edges: BTreeMap::new(),
        };
        for package in list(&metadata["packages"]) {
            graph.names.insert(text(&package["id"]), text(&package["name"]));
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            // The kind of a dependency is null, "build" or "dev".
            let is_built = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let edges = list(&node["deps"])
                .iter()
                .filter(|dependency| is_built(dependency))
                .map(|dependency| text(&dependency["pkg"]))
                .collect();
            graph.edges.insert(text(&node["id"]), edges);
        }
        graph
    }

    fn id(&self, name: &str) -> &str {
        let mut found = self.names.iter().filter(|(_, other)| *other == name);
        let (id, _) = found.next().unwrap_or_else(|| panic!("there is no package {name}"));
        assert!(found.next().is_none(), "there are several packages {name}");
        id
    }

    fn name(&self, id: &str) -> &str {
        &self.names[id]
    }

    /// Returns the names of every package below a package, itself excluded.
    fn below(&self, name: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut left = vec![self.id(name)];
        while let Some(id) = left.pop() {
            for next in &self.edges[id] {
                if found.insert(next.as_str()) {
                    left.push(next);
                }
            }
        }
        found.into_iter().map(|id| self.name(id)).collect()
    }
}

#[test]
fn packages_depend_on_the_intended_packages_and_no_others() {
    let graph = Graph::of_the_workspace();
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, intended) in ARROWS {
        let edges = &graph.edges[graph.id(name)];
        let found: BTreeSet<&str> = edges
            .iter()
            .map(|id| graph.name(id))
            .filter(|id| ours.contains(id))
            .collect();
        assert_eq!(found, intended.iter().copied().collect(), "{name}");
    }
}

#[test]
fn every_package_of_the_workspace_is_in_the_table() {
    let graph = Graph::of_the_workspace();
    let in_workspace = graph.names.iter().filter(|(id, _)| id.starts_with("path+"));
    let mut names: Vec<&str> = in_workspace.map(|(_, name)| name.as_str()).collect();
    let mut listed: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(names, listed);
}

#[test]
fn portable_packages_depend_on_nothing_that_needs_linux() {
    let graph = Graph::of_the_workspace();
    for name in PORTABLE {
        let below = graph.below(name);
        let found: Vec<&str> = FORBIDDEN_BELOW_PORTABLE
            .into_iter()
            .filter(|other| below.contains(other))
            .collect();
        assert!(found.is_empty(), "{name} depends on {found:?}");
    }
}
