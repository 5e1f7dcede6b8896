//! Random sequences of all list operations, compared with vectors.
//!
//! Three lists and three `Vec<u8>` undergo the same operations. Their lengths are compared after
//! each operation, their bytes at every peek and send, and at the end. All kinds of segments take
//! part, with pools from generous to empty.
//!
//! The sequences are the same in every run. For others:
//!
//! * `BUFFERLIST_MODEL_CASES`: how many, instead of 4000;
//! * `BUFFERLIST_MODEL_SEED`: a number, instead of the fixed one. A failure names its seed.

mod model;
mod ops;

use model::{Fixtures, Model};
use ops::Sequence;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::RefCell;

/// Default number of sequences.
const CASES: u32 = 4000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs the property. Shrinking a sequence of forty operations takes about a thousand attempts.
fn property(cases: u32, shrinks: u32) -> Result<(), TestError<Sequence>> {
    let seed = number("BUFFERLIST_MODEL_SEED");
    let rng = match seed {
        None => TestRng::deterministic_rng(RngAlgorithm::ChaCha),
        Some(seed) => {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
        }
    };
    let config = Config {
        cases,
        max_shrink_iters: shrinks,
        // The sequences are the same in every run, so no failures need be stored.
        failure_persistence: None,
        ..Config::default()
    };
    let fixtures = RefCell::new(Fixtures::new());
    let result = TestRunner::new_with_rng(config, rng).run(&ops::sequence(), |sequence| {
        let mut fixtures = fixtures.borrow_mut();
        let mut model = Model::new(&mut fixtures, sequence.pipes);
        for (at, op) in sequence.ops.iter().enumerate() {
            model
                .apply(op)
                .map_err(|error| TestCaseError::fail(format!("operation {at}, {op:?}: {error}")))?;
        }
        model.end()
    });
    if result.is_err() {
        println!(
            "the seed was {}",
            seed.map_or("the fixed one".into(), |seed| seed.to_string())
        );
    }
    result
}

#[test]
fn lists_match_vec_model() {
    let cases = number("BUFFERLIST_MODEL_CASES").map_or(CASES, |cases| cases as u32);
    if let Err(error) = property(cases, 4000) {
        panic!("{error}");
    }
}

/// A test that cannot fail proves nothing: an injected error of one byte in the splitting of pipe
/// segments is found.
#[test]
fn injected_error_is_detected() {
    let result = bufferlist::fault::with_injected_off_by_one(|| property(CASES, 200));
    assert!(
        matches!(result, Err(TestError::Fail(..))),
        "the error that was planted went unnoticed: {result:?}"
    );
}

/// Every operation and variant occurs; otherwise the property is weaker than it looks.
#[test]
fn every_operation_is_generated() {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let tree = ops::sequence().new_tree(&mut runner).expect("a sequence");
        let sequence = proptest::strategy::ValueTree::current(&tree);
        names.extend(sequence.ops.iter().map(ops::Op::name));
    }
    assert_eq!(names.len(), ops::NAMES, "{names:?}");
}
