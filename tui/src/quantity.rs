//! Parsing of quantities on the command line and in filters: sizes, times, speeds.

use std::time::Duration;

/// Parses a number of bytes: digits, and K, M, G or T for binary units, with or without `iB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
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
                "`{unit}` is not a unit; use KiB, MiB, GiB or TiB, or none for bytes"
            ));
        }
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "more than 16 EiB".to_owned())
}

/// Parses a time: a number, and `ms`, `s`, `m` or `h`. Without a unit it is in seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
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
        _ => return Err(format!("`{unit}` is not a unit of time; use ms, s, m or h")),
    };
    let time = parse_decimal(number, 3)
        .and_then(|thousandths| thousandths.checked_mul(milliseconds))
        .map(Duration::from_micros)
        .ok_or_else(|| "a time is a number and a unit, such as 10s or 1.5m".to_owned())?;
    if time < Duration::from_millis(1) {
        return Err("too short; the minimum is 1ms".to_owned());
    }
    Ok(time)
}

/// Speed of a replay as a multiple of real time; `None` for replaying without waiting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Speed(pub(crate) Option<f64>);

/// Parses a speed: a number, or `max`.
pub(crate) fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed(None));
    }
    let thousandths = parse_decimal(text.strip_suffix('x').unwrap_or(text), 3);
    thousandths
        .filter(|thousandths| (1..=1_000_000_000).contains(thousandths))
        .map(|thousandths| Speed(Some(thousandths as f64 / 1000.0)))
        .ok_or_else(|| "a speed is a number such as 10 or 0.5, at most a million, or max".to_owned())
}

/// Parses a number with at most `decimals` decimals, as an integer of its smallest unit.
pub(crate) fn parse_decimal(text: &str, decimals: u32) -> Option<u64> {
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
    fn sizes_have_binary_units() {
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
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
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
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speeds_are_positive_or_max() {
        assert_eq!(parse_speed("max"), Ok(Speed(None)));
        for (text, times) in [("1", 1.0), ("10x", 10.0), ("0.5", 0.5), ("1000000", 1e6)] {
            assert_eq!(parse_speed(text), Ok(Speed(Some(times))), "{text}");
        }
        for text in ["", "0", "-1", "0.0001", "inf", "NaN", "1e3", "1000001"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_default_to_seconds() {
        for (text, milliseconds) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("250ms", 250),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
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
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
