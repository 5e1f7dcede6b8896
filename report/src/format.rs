//! Text of numbers and of the headline, as every screen shows them. JSON has the exact numbers.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Report;

/// Formats a number of bytes in binary units with one decimal, such as `64.0 MiB`, `2.0 KiB` and
/// `17 B`. Zero is `0`.
///
/// ```
/// use zctrace_report::format::size;
/// assert_eq!(size(64 << 20), "64.0 MiB");
/// assert_eq!(size(17), "17 B");
/// assert_eq!(size(0), "0");
/// assert_eq!(size((1 << 20) - 1), "1.0 MiB");
/// ```
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match bytes {
        0 => return "0".to_owned(),
        1..=1023 => return format!("{bytes} B"),
        _ => {}
    }
    let mut unit = 0;
    loop {
        // The number of tenths is a rounded integer, so that 1023.95 KiB becomes 1.0 MiB and not
        // 1024.0 KiB.
        let one = 1_u128 << (10 * (unit + 1));
        let tenths = (u128::from(bytes) * 10 + one / 2) / one;
        if tenths < 10_240 || unit + 1 == UNITS.len() {
            return format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]);
        }
        unit += 1;
    }
}

/// Formats a part of a whole in percent with one decimal.
///
/// Only the whole is `100.0 %`, and only 0 is `0.0 %`. Rounding stops at `>99.9 %` and `<0.1 %`. If
/// the whole is 0, the result is `–`.
///
/// ```
/// use zctrace_report::format::percent;
/// assert_eq!(percent(71, 100), "71.0 %");
/// assert_eq!(percent(u64::MAX - 1, u64::MAX), ">99.9 %");
/// assert_eq!(percent(1, u64::MAX), "<0.1 %");
/// assert_eq!(percent(0, 0), "–");
/// ```
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let (wide_part, wide_whole) = (u128::from(part), u128::from(whole));
    match (wide_part * 1000 + wide_whole / 2) / wide_whole {
        0 if part > 0 => "<0.1 %".to_owned(),
        1000.. if part < whole => ">99.9 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// Formats a count with spaces between groups of three digits, such as `67 108 864`.
///
/// ```
/// assert_eq!(zctrace_report::format::count(67_108_864), "67 108 864");
/// assert_eq!(zctrace_report::format::count(512), "512");
/// ```
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a time in nanoseconds, with the unit that leaves one to three digits before the point,
/// such as `10.0 s`, `110.0 ms` and `0.5 µs`.
///
/// ```
/// assert_eq!(zctrace_report::format::duration(10_000_000_000), "10.0 s");
/// assert_eq!(zctrace_report::format::duration(110_000_000), "110.0 ms");
/// assert_eq!(zctrace_report::format::duration(45), "45 ns");
/// ```
pub fn duration(nanoseconds: u64) -> String {
    let tenths_of = |unit: u64| {
        let tenths = (u128::from(nanoseconds) * 10 + u128::from(unit) / 2) / u128::from(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match nanoseconds {
        0..=999 => format!("{nanoseconds} ns"),
        // The limits are the largest values whose single decimal rounds to less than 1000.
        1_000..=999_949 => format!("{} µs", tenths_of(1_000)),
        999_950..=999_949_999 => format!("{} ms", tenths_of(1_000_000)),
        _ => format!("{} s", tenths_of(1_000_000_000)),
    }
}

/// Returns text from outside without characters that could control a terminal.
///
/// Control characters and marks that change the direction of writing each become `�`.
///
/// ```
/// assert_eq!(zctrace_report::format::printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(steers) {
        Cow::Owned(text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Returns the first line of every screen: the share, its whole, and lost records.
///
/// `71.0 % MOVED   6.6 GiB of the 9.3 GiB delivered; 2.7 GiB copied, 1.4 MiB unknown`
///
/// The line of a filtered report mentions the filter, so that a share of some flows is not mistaken
/// for the share of all flows.
pub fn headline(report: &Report) -> String {
    let account = &report.totals().account;
    let arrived = account.delivered();
    let fits = match (&report.filter, arrived) {
        (None, _) => "",
        (Some(_), 0) => " that matches the filter",
        (Some(_), _) => " and matching the filter",
    };
    // Writing to a `String` cannot fail.
    let mut line = if arrived == 0 {
        let mut line = format!("NO PAYLOAD DELIVERED   no payload{fits} reached a file, a socket or a device");
        let read = report.into_memory().account.delivered();
        if read > 0 {
            let _ = write!(line, "; {} read into memory", size(read));
        }
        line
    } else {
        format!(
            "{} MOVED   {} of the {} delivered{fits}; {} copied, {} unknown",
            percent(account.moved, arrived),
            size(account.moved),
            size(arrived),
            size(account.copied),
            size(account.unknown)
        )
    };
    let excluded = account.excluded.total();
    if excluded > 0 {
        let _ = write!(line, "; {} excluded (holes, reflinks, discarded)", size(excluded));
    }
    if report.loss.any() {
        let _ = write!(line, "; {} records lost", count(report.loss.records()));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, Endpoint, EndpointKind, Flow, Scope, Tier};

    #[test]
    fn sizes_carry_into_the_next_unit_and_never_show_1024() {
        for power in 1..=6 {
            let one = 1_u64 << (10 * power);
            assert!(size(one).starts_with("1.0 "), "{}", size(one));
            if power > 1 {
                assert!(size(one - 1).starts_with("1.0 "), "{}", size(one - 1));
            }
        }
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn durations_carry_too() {
        assert_eq!(duration(999_949), "999.9 µs");
        assert_eq!(duration(999_950), "1.0 ms");
        assert_eq!(duration(999_950_000), "1.0 s");
    }

    #[test]
    fn hundred_percent_is_said_only_of_all() {
        for whole in [1, 2, 999, 1000, 1001, u64::MAX] {
            assert_eq!(percent(whole, whole), "100.0 %");
            assert_eq!(percent(0, whole), "0.0 %");
            assert_ne!(percent(whole - 1, whole), "100.0 %");
        }
        assert_eq!(percent(3, 1000), "0.3 %");
    }

    fn report(to: EndpointKind, account: Account) -> Report {
        let mut report = Report::new(Tier::T0, Scope::default());
        let mut flow = Flow::new(Endpoint::new(EndpointKind::File, "a"), Endpoint::new(to, "b"));
        flow.set_account(account);
        report.add_flow(flow);
        report.finish(10);
        report
    }

    #[test]
    fn the_headline_says_share_and_loss() {
        let mut some = report(EndpointKind::Tcp, Account::new(3 << 30, 1 << 30, 17));
        assert_eq!(
            headline(&some),
            "75.0 % MOVED   3.0 GiB of the 4.0 GiB delivered; 1.0 GiB copied, 17 B unknown"
        );
        some.loss.recursion_misses = 1234;
        assert!(
            headline(&some).ends_with("17 B unknown; 1 234 records lost"),
            "{}",
            headline(&some)
        );
    }

    #[test]
    fn the_headline_of_nothing_has_no_percentage() {
        let read = headline(&report(EndpointKind::Memory, Account::new(0, 2 << 20, 0)));
        assert!(
            read.starts_with("NO PAYLOAD DELIVERED") && read.ends_with("2.0 MiB read into memory"),
            "{read}"
        );
        let mut account = Account::default();
        account.excluded.cloned = 1 << 20;
        let cloned = headline(&report(EndpointKind::File, account));
        assert!(
            !cloned.contains('%') && cloned.contains("1.0 MiB excluded (holes, reflinks, discarded)"),
            "{cloned}"
        );
    }
}
