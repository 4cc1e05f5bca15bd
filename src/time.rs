//! Points in time as RFC 3339 text, always in UTC: the only calendar this program needs.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// `2006-01-02T15:04:05Z`, as logrus writes it.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let mut text = seconds(at).0;
    text.push('Z');
    text
}

/// `2006-01-02T15:04:05.999999999Z`: Go's `RFC3339Nano`, which drops trailing zeros and with them the point.
#[must_use]
pub fn rfc3339_nano(at: SystemTime) -> String {
    let (mut text, nanos) = seconds(at);
    if nanos != 0 {
        let mut fraction = format!("{nanos:09}");
        fraction.truncate(fraction.trim_end_matches('0').len());
        text.push('.');
        text.push_str(&fraction);
    }
    text.push('Z');
    text
}

/// Everything but fraction and zone, and the nanoseconds. A clock set before 1970 counts as 1970.
fn seconds(at: SystemTime) -> (String, u32) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let mut text = String::with_capacity(32);
    let written =
        write!(text, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
    (text, since.subsec_nanos())
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar.
///
/// Counted in eras of 400 years (146,097 days) that begin on a first of March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_moments() {
        for (secs, nanos, want) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 0, "2000-02-28T23:59:59Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (951_868_800, 0, "2000-03-01T00:00:00Z"),
            (1_136_214_245, 999_999_999, "2006-01-02T15:04:05.999999999Z"),
            (1_700_000_000, 500_000_000, "2023-11-14T22:13:20.5Z"),
            (1_709_164_800, 120, "2024-02-29T00:00:00.00000012Z"),
            (4_102_444_799, 0, "2099-12-31T23:59:59Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
        ] {
            let at = UNIX_EPOCH + Duration::new(secs, nanos);
            assert_eq!(rfc3339_nano(at), want);
            assert_eq!(rfc3339(at), format!("{}Z", &want[..19]));
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(0);
        for days in 1..200_000 {
            let day = civil(days);
            let leap = last.0.is_multiple_of(4) && (!last.0.is_multiple_of(100) || last.0.is_multiple_of(400));
            let length = match last.1 {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let want = match last {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, d) if d == length => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!(day, want, "day {days}");
            last = day;
        }
    }
}
