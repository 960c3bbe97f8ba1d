//! Unix times as RFC 3339 with milliseconds, written by hand: `2020-08-11T17:19:43.000Z`.

/// 9999-12-31T23:59:59Z: Elasticsearch's `strict_date_optional_time` reads years of four digits.
const MAX_SECOND: i64 = 253_402_300_799;

/// A log's Unix second in milliseconds, if it can be a time: zero is Calico's "unset", and a document with a year beyond
/// 9999 would be refused.
pub fn from_seconds(second: Option<i64>) -> Option<i64> {
    second.filter(|s| (1..=MAX_SECOND).contains(s)).map(|s| s * 1000)
}

/// As [`from_seconds`], for milliseconds.
pub fn from_millis(millis: Option<i64>) -> Option<i64> {
    millis.filter(|ms| (1..=MAX_SECOND * 1000 + 999).contains(ms))
}

/// Writes times, and remembers the last second's text: the flows of one flush share their times.
#[derive(Debug)]
pub struct Stamp {
    second: i64,
    fraction: i64,
    /// In quotes, the comma behind them.
    text: [u8; 27],
}

impl Default for Stamp {
    fn default() -> Self {
        Self { second: 0, fraction: 0, text: *b"\"1970-01-01T00:00:00.000Z\"," }
    }
}

impl Stamp {
    #[inline(always)]
    /// `millis` as [`from_seconds`] or [`from_millis`] gave it, or 0.
    pub fn write(&mut self, out: &mut Vec<u8>, key: &[u8], millis: i64) {
        let second = millis.div_euclid(1000);
        if second != self.second {
            self.second = second;
            self.set_second(second);
        }
        let fraction = millis.rem_euclid(1000);
        if fraction != self.fraction {
            self.fraction = fraction;
            put(&mut self.text[21..24], fraction.unsigned_abs());
        }
        out.extend_from_slice(key);
        out.extend_from_slice(&self.text);
    }

    fn set_second(&mut self, second: i64) {
        let (year, month, day) = civil(second.div_euclid(86_400));
        let of_day = second.rem_euclid(86_400).unsigned_abs();
        put(&mut self.text[1..5], year);
        put(&mut self.text[6..8], month);
        put(&mut self.text[9..11], day);
        put(&mut self.text[12..14], of_day / 3600);
        put(&mut self.text[15..17], of_day / 60 % 60);
        put(&mut self.text[18..20], of_day % 60);
    }
}

/// Decimal digits with leading zeros.
fn put(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970-01-01 to year, month, day. Years are counted from the first of March, so that the leap day is the
/// last of its year and months have a linear pattern; 400 years are 146,097 days.
fn civil(days: i64) -> (u64, u64, u64) {
    let from_march_0000 = days + 719_468;
    let era = from_march_0000.div_euclid(146_097);
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year.unsigned_abs(), month.unsigned_abs(), day.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(millis: i64) -> String {
        let mut out = Vec::new();
        Stamp::default().write(&mut out, b"", millis);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_times() {
        for (millis, expected) in [
            (0, "\"1970-01-01T00:00:00.000Z\","),
            (1_597_166_383_000, "\"2020-08-11T17:19:43.000Z\","),
            (1_582_934_400_007, "\"2020-02-29T00:00:00.007Z\","),
            (MAX_SECOND * 1000 + 999, "\"9999-12-31T23:59:59.999Z\","),
        ] {
            assert_eq!(write(millis), expected);
        }
    }

    #[test]
    fn impossible_times_are_none() {
        for second in [None, Some(0), Some(-1), Some(MAX_SECOND + 1), Some(i64::MAX), Some(i64::MIN)] {
            assert_eq!(from_seconds(second), None, "{second:?}");
            assert_eq!(from_millis(second.map(|s| s.saturating_mul(1000))), None, "{second:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_calendar(first in 0..=MAX_SECOND * 1000, second in 0..=MAX_SECOND * 1000) {
            let mut stamp = Stamp::default();
            for millis in [first, second, second.saturating_sub(1).max(0)] {
                let mut out = Vec::new();
                stamp.write(&mut out, b"", millis);
                let text = String::from_utf8(out).unwrap();
                let read: jiff::Timestamp = text.trim_matches(['"', ',']).parse().unwrap();
                prop_assert_eq!(read.as_millisecond(), millis);
            }
        }
    }
}
