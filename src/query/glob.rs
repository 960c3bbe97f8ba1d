//! `*` in text: any run of characters, none included.

/// Whether the pattern takes the text. Time is at worst the product of their lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and the text that it takes so far.
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, t) = (at + 1, taken + 1);
        } else {
            return false;
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
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
