//! Spans of time and dates, as people write and read them.

/// Reads `90s`, `15m`, `12h`, `7d`, or plain seconds; in seconds, at least 1.
pub(crate) fn parse_s(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(DAY_S),
        _ => None,
    };
    let span_s = digits.parse::<u64>().ok().zip(unit_s).and_then(|(number, unit_s)| number.checked_mul(unit_s));
    span_s.filter(|span_s| (1..=SPAN_MAX_S).contains(span_s)).ok_or_else(|| "say 90s, 15m, 12h or 7d".to_owned())
}

/// Reads `1500ms`, or what [`parse_s`] reads, or 0; in milliseconds, at most an hour.
pub(crate) fn parse_ms(text: &str) -> Result<u64, String> {
    let span_ms = match text.strip_suffix("ms") {
        Some(digits) => digits.parse().ok(),
        None if ["0", "0s"].contains(&text) => Some(0),
        None => parse_s(text).ok().and_then(|span_s| span_s.checked_mul(1_000)),
    };
    span_ms
        .filter(|span_ms| *span_ms <= 3_600_000)
        .ok_or_else(|| "say 0s, 1500ms, 30s or 5m, at most an hour".to_owned())
}

/// `3 days 4 hours`: the largest two units.
pub(crate) fn words(span_s: u64) -> String {
    let units =
        [("day", span_s / DAY_S), ("hour", span_s / 3_600 % 24), ("minute", span_s / 60 % 60), ("second", span_s % 60)];
    let mut named = units
        .iter()
        .skip_while(|(_, count)| *count == 0)
        .take(2)
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| if *count == 1 { format!("1 {name}") } else { format!("{count} {name}s") });
    match (named.next(), named.next()) {
        (Some(large), Some(small)) => format!("{large} {small}"),
        (Some(only), None) => only,
        (None, _) => "no time".to_owned(),
    }
}

/// `2027-01-15 08:00:00 UTC`.
pub(crate) fn date(unix_s: u64) -> String {
    let (year, month, day) = civil(unix_s / DAY_S);
    let (hour, minute, second) = (unix_s / 3_600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of the Gregorian calendar, from days since 1970 (Hinnant, "chrono-compatible low-level date
/// algorithms"): eras of 400 years, years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

const DAY_S: u64 = 86_400;
/// A hundred years: beyond it somebody meant something else.
const SPAN_MAX_S: u64 = 100 * 366 * DAY_S;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_spoken() {
        for (text, expected_s) in [("1", 1), ("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(parse_s(text), Ok(expected_s), "{text}");
        }
        for bad in ["", "h", "0", "0s", "-1h", "1.5h", "1w", "1 h", "99999999999999999999s", "36700d", "1hh", "1ä"] {
            assert!(parse_s(bad).is_err(), "{bad}");
        }
        for (text, expected_ms) in [("0", 0), ("0s", 0), ("1500ms", 1_500), ("30", 30_000), ("60m", 3_600_000)] {
            assert_eq!(parse_ms(text), Ok(expected_ms), "{text}");
        }
        for bad in ["", "ms", "-1ms", "61m", "1.5s", "99999999999999999999ms"] {
            assert!(parse_ms(bad).is_err(), "{bad}");
        }
        let spoken =
            [(0, "no time"), (1, "1 second"), (61, "1 minute 1 second"), (3_600, "1 hour"), (90_061, "1 day 1 hour")];
        for (span_s, expected) in spoken {
            assert_eq!(words(span_s), expected);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let dates = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_800_000_000, "2027-01-15 08:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ];
        for (unix_s, expected) in dates {
            assert_eq!(date(unix_s), expected);
        }
    }
}
