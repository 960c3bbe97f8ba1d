//! `*` in text: any run of characters, none included.

/// Whether the pattern takes the text; `same` says of each other octet of the pattern whether it takes an octet of the text.
///
/// It goes back to the last star only, so time is at worst the product of the lengths.
pub fn matches(pattern: &[u8], text: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and the text that it takes so far.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if same(*byte, text[t]) => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("kube-*", "kube-system", true),
            ("kube-*", "kube-", true),
            ("kube-*", "kube", false),
            ("*-system", "kube-system", true),
            ("*-system", "kube-systems", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a**c", "ac", true),
            ("*a*", "bbb", false),
            ("web-*", "web-*", true),
            ("*é", "caf\u{e9}", true),
            ("a*aa", "aaa", true),
        ] {
            let found = matches(pattern.as_bytes(), text.as_bytes(), |a, b| a == b);
            assert_eq!(found, expected, "{pattern} {text}");
        }
    }
}
