//! Output of the machine's serial line.

/// Prefix of init's own lines.
pub(super) const MARK: &str = "VM:";

/// Result of each test: `Err` is why it did not pass. A test without a result has failed.
pub(super) fn read<'a>(output: &str, tests: &[(&'a str, &str)]) -> Vec<(&'a str, Result<(), String>)> {
    let said: Vec<&str> = output
        .lines()
        .filter_map(|line| line.trim_end().split_once(MARK).map(|said| said.1))
        .collect();
    let ended = said.iter().any(|line| line.trim() == "done");
    let result = |name: &str| {
        let code = said.iter().find_map(|line| {
            line.trim()
                .strip_prefix("exit ")?
                .strip_suffix(name)?
                .trim()
                .parse()
                .ok()
        });
        match code {
            Some(0) if ended => Ok(()),
            Some(0) => Err("the machine stopped before its end".to_owned()),
            Some(code) => Err(format!("it exited with {code}")),
            None => Err("nothing was heard of it".to_owned()),
        }
    };
    tests
        .iter()
        .map(|(name, _)| (*name, result(&format!(" {name}"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: [(&str, &str); 2] = [("demo", "/demo"), ("oracle", "/oracle")];

    fn passed(output: &str) -> Vec<bool> {
        read(output, &TESTS)
            .into_iter()
            .map(|(_, result)| result.is_ok())
            .collect()
    }

    #[test]
    fn what_is_said_counts() {
        assert_eq!(
            passed("boot\r\nVM: exit 0 demo\r\nVM: exit 0 oracle\r\nVM: done\r\n"),
            [true, true]
        );
        assert_eq!(passed("VM: exit 3 demo\nVM: exit 0 oracle\nVM: done\n"), [false, true]);
    }

    #[test]
    fn what_is_not_said_has_failed() {
        assert_eq!(passed(""), [false, false]);
        assert_eq!(passed("VM: exit 0 demo\nVM: done\n"), [true, false]);
        assert_eq!(
            passed("VM: exit 0 demo\nVM: exit 0 oracle\npanic"),
            [false, false],
            "it did not come to its end"
        );
        assert_eq!(
            passed("VM: exit 0 demonstration\nVM: exit 0 oracle\nVM: done"),
            [false, true]
        );
    }
}
