//! Names with wildcards: `*` is any run of characters (none too), `?` is one. Nothing else is special.

use crate::model::wildcard;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glob {
    Any,
    Exact(Box<str>),
    /// `pay-*`
    Prefix(Box<str>),
    /// `*.example.com`
    Suffix(Box<str>),
    Other(Box<[u8]>),
}

impl Glob {
    pub fn new(pattern: &str) -> Self {
        let special = |text: &str| text.contains(['*', '?']);
        match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
            (Some(""), _) => Self::Any,
            (Some(prefix), _) if !special(prefix) => Self::Prefix(prefix.into()),
            (_, Some(suffix)) if !special(suffix) => Self::Suffix(suffix.into()),
            _ if special(pattern) => Self::Other(pattern.as_bytes().into()),
            _ => Self::Exact(pattern.into()),
        }
    }

    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => **text == *name,
            Self::Prefix(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => name.as_bytes().ends_with(suffix.as_bytes()),
            Self::Other(pattern) => wildcard::matches(pattern, name.as_bytes(), |a, b| a == b'?' || a == b),
        }
    }

    /// As [`Glob::matches`] where case does not count. The pattern is lower case.
    pub fn matches_ignoring_case(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let tail = |len: usize| name.len().checked_sub(len).map(|at| &name[at..]);
        match self {
            Self::Any => true,
            Self::Exact(text) => name.eq_ignore_ascii_case(text.as_bytes()),
            Self::Prefix(prefix) => {
                name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
            }
            Self::Suffix(suffix) => tail(suffix.len()).is_some_and(|tail| tail.eq_ignore_ascii_case(suffix.as_bytes())),
            // Rare; the names are short.
            Self::Other(pattern) => wildcard::matches(pattern, name, |a, b| a == b'?' || a.eq_ignore_ascii_case(&b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "shop", true),
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("pay-*", "pay-", true),
            ("pay-*", "pay-eu", true),
            ("pay-*", "pa", false),
            ("*-dev", "a-dev", true),
            ("*-dev", "dev", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*", "bbb", false),
            ("*a*", "bab", true),
            ("a**", "ab", true),
        ] {
            let glob = Glob::new(pattern);
            assert_eq!(glob.matches(name), expected, "{pattern} {name}");
            assert_eq!(glob.matches_ignoring_case(&name.to_uppercase()), expected, "{pattern} {name} in capitals");
            let letters = pattern.contains(char::is_alphabetic);
            assert_eq!(glob.matches(&name.to_uppercase()), expected && !letters, "{pattern} {name} in capitals");
        }
    }
}
