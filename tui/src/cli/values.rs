//! Values on the command line: sizes, limits, times.

use std::time::Duration;

use crate::assert::Limit;

/// A number of bytes: digits, and K, M, G or T for binary units, with or without `iB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("a size is a number and a unit, such as 64MiB".to_owned());
    }
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => {
            return Err(format!(
                "`{unit}` is no unit; take KiB, MiB, GiB or TiB, or none for bytes"
            ));
        }
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "that is more than 16 EiB".to_owned())
}

/// A limit: a size, or a percentage of what arrived.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    let Some(number) = text.strip_suffix('%') else {
        return bytes(text)
            .map(Limit::Bytes)
            .map_err(|why| format!("{why}; or a percentage, such as 1%"));
    };
    decimal(number.trim_end(), 7)
        .filter(|&parts| parts <= 100 * Limit::PER_PERCENT)
        .map(Limit::Share)
        .ok_or_else(|| "a percentage is a number from 0 to 100 with at most 7 decimals, such as 0.5%".to_owned())
}

/// A time: a number, and `ms`, `s`, `m` or `h`; without a unit it is seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("`{unit}` is no unit of time; take ms, s, m or h")),
    };
    let time = decimal(number, 3)
        .and_then(|thousandths| thousandths.checked_mul(milliseconds))
        .map(Duration::from_micros)
        .ok_or_else(|| "a time is a number and a unit, such as 10s or 1.5m".to_owned())?;
    if time < Duration::from_millis(1) {
        return Err("that is too short; take 1ms at least".to_owned());
    }
    Ok(time)
}

/// How many times as fast as it happened; `None`: without waiting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Speed(pub(crate) Option<f64>);

/// A speed: a number, or `max`.
pub(crate) fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed(None));
    }
    let thousandths = decimal(text.strip_suffix('x').unwrap_or(text), 3);
    thousandths
        .filter(|thousandths| (1..=1_000_000_000).contains(thousandths))
        .map(|thousandths| Speed(Some(thousandths as f64 / 1000.0)))
        .ok_or_else(|| "a speed is a number such as 10 or 0.5, a million at most, or max".to_owned())
}

/// A number with at most this many decimals, as an integer of its smallest unit.
fn decimal(text: &str, decimals: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > decimals as usize {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<width$}", width = decimals as usize).parse().ok()?;
    whole.checked_mul(10_u64.pow(decimals))?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_units() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65_536),
            ("1MiB", 1 << 20),
            ("64 mib", 64 << 20),
            ("1g", 1 << 30),
            ("2TiB", 2 << 40),
            ("5000b", 5000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5M",
            "64MB",
            "18446744073709551616",
            "16777216T",
            "7 x",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_sizes_or_exact_percentages() {
        for (text, expected) in [
            ("0", Limit::Bytes(0)),
            ("64K", Limit::Bytes(65_536)),
            ("1MiB", Limit::Bytes(1 << 20)),
            ("0%", Limit::Share(0)),
            ("1%", Limit::Share(10_000_000)),
            ("0.5 %", Limit::Share(5_000_000)),
            ("0.0000001%", Limit::Share(1)),
            ("100%", Limit::Share(1_000_000_000)),
        ] {
            assert_eq!(limit(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "100.1%", "1.%x", ".5%", "1e3%", "0.00000001%"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speeds_are_positive_or_without_end() {
        assert_eq!(speed("max"), Ok(Speed(None)));
        for (text, times) in [("1", 1.0), ("10x", 10.0), ("0.5", 0.5), ("1000000", 1e6)] {
            assert_eq!(speed(text), Ok(Speed(Some(times))), "{text}");
        }
        for text in ["", "0", "-1", "0.0001", "inf", "NaN", "1e3", "1000001"] {
            assert!(speed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units_and_are_seconds_without_one() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("250ms", 250),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "0s",
            "-1s",
            "1d",
            "1.2.3s",
            "0.0001ms",
            "99999999999999999999s",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
