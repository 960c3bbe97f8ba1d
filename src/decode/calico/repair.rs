//! Making Unicode of what is not quite Unicode.

/// The escape that a lone surrogate's escape is replaced by: of the same length, so that columns stay.
const REPLACEMENT_ESCAPE: &[u8; 6] = b"\\ufffd";

/// True when the JSON text escapes half a surrogate pair (`\ud83d` without its `\ude00`): grammatical, but no text.
pub(super) fn has_lone_surrogate(json: &str) -> bool {
    lone_surrogates(json.as_bytes()).next().is_some()
}

/// Writes the line to `scratch` with U+FFFD for bytes that are not UTF-8 and for lone surrogates.
pub(super) fn into(line: &[u8], scratch: &mut String) {
    let mut bytes = String::from_utf8_lossy(line).into_owned().into_bytes();
    let places: Vec<usize> = lone_surrogates(&bytes).collect();
    for at in places {
        bytes[at..at + REPLACEMENT_ESCAPE.len()].copy_from_slice(REPLACEMENT_ESCAPE);
    }
    // ASCII replaced by ASCII: this conversion cannot lose anything.
    *scratch = String::from_utf8(bytes).unwrap_or_default();
}

/// Where the escapes of lone surrogates begin, in one walk over the backslashes.
fn lone_surrogates(json: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(step) = memchr::memchr(b'\\', json.get(at..)?) {
            let found = at + step;
            match (unit(json, found), unit(json, found + 6)) {
                (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at = found + 12,
                (Some(0xD800..=0xDFFF), _) => {
                    at = found + 6;
                    return Some(found);
                }
                // Any other escape, `\\` above all, whose second backslash begins nothing.
                _ => at = found + 2,
            }
        }
        None
    })
}

/// The UTF-16 unit that `\uXXXX` at this place stands for.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_are_replaced() {
        let check = |json: &str, expected: &str| {
            let mut scratch = "old".to_owned();
            into(json.as_bytes(), &mut scratch);
            assert_eq!(scratch, expected, "{json}");
            assert_eq!(has_lone_surrogate(json), json != expected, "{json}");
        };
        check(r#"plain "\n" \u00e9"#, r#"plain "\n" \u00e9"#);
        check(r"\ud83d\ude00", r"\ud83d\ude00");
        check(r"\ud83d", r"\ufffd");
        check(r"\ud83dx", r"\ufffdx");
        check(r"\uDE00\uD83D", r"\ufffd\ufffd");
        check(r"\ud83d\ud83d\ude00", r"\ufffd\ud83d\ude00");
        check(r"\ud83d\u0041", r"\ufffd\u0041");
        check(r"\\ud83d", r"\\ud83d");
        check(r"\\\ud83d", r"\\\ufffd");
        check(r"cut \ud8", r"cut \ud8");
        check("\\", "\\");
    }

    #[test]
    fn bytes_that_are_no_text() {
        let mut scratch = String::new();
        into(b"a\xffb\xe2\x82c\\udc00", &mut scratch);
        assert_eq!(scratch, "a\u{fffd}b\u{fffd}c\\ufffd");
    }
}
