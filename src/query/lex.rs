//! Text to tokens, one at a time.

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token<'a> {
    /// Without quotes.
    Word(&'a str),
    Quoted(Cow<'a, str>),
    Operator(Operator),
    And,
    Or,
    Not,
    In,
    Exists,
    Open(char),
    Close(char),
    Comma,
    /// `->`
    Arrow,
    /// `<->`
    Between,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
    Like,
    NotLike,
}

impl Operator {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Like => "=~",
            Self::NotLike => "!~",
        }
    }
}

/// Longest first where one is the beginning of another.
const SIGNS: [(&str, Token<'static>); 19] = [
    ("<->", Token::Between),
    ("->", Token::Arrow),
    ("==", Token::Operator(Operator::Equal)),
    ("=~", Token::Operator(Operator::Like)),
    ("!=", Token::Operator(Operator::NotEqual)),
    ("!~", Token::Operator(Operator::NotLike)),
    ("<=", Token::Operator(Operator::AtMost)),
    (">=", Token::Operator(Operator::AtLeast)),
    ("&&", Token::And),
    ("||", Token::Or),
    ("=", Token::Operator(Operator::Equal)),
    ("<", Token::Operator(Operator::Less)),
    (">", Token::Operator(Operator::More)),
    ("!", Token::Not),
    ("(", Token::Open('(')),
    (")", Token::Close(')')),
    ("{", Token::Open('{')),
    ("}", Token::Close('}')),
    (",", Token::Comma),
];

/// Words that mean something by themselves, in any case.
const KEYWORDS: [(&str, Token<'static>); 5] =
    [("and", Token::And), ("or", Token::Or), ("not", Token::Not), ("in", Token::In), ("exists", Token::Exists)];

pub fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|(keyword, _)| word.eq_ignore_ascii_case(keyword))
}

pub fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '*' | '@' | '+')
}

/// The token at the beginning of `text`, which begins with no space, and its length.
pub fn token(text: &str) -> Result<(Token<'_>, usize), &'static str> {
    let Some(first) = text.chars().next() else { return Ok((Token::End, 0)) };
    if matches!(first, '"' | '\'') {
        return quoted(text, first);
    }
    if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| text.starts_with(sign)) {
        return Ok((token.clone(), sign.len()));
    }
    let len = word_len(text);
    let word = &text[..len];
    if len == 0 {
        return Err(match first {
            '~' => "write =~ for a regular expression",
            '&' => "write and",
            '|' => "write or",
            '[' => "write ( and ) around the values of a set",
            _ => "this character has no meaning here; put text that holds it in quotes",
        });
    }
    let keyword = KEYWORDS.iter().find(|(keyword, _)| word.eq_ignore_ascii_case(keyword));
    Ok((keyword.map_or(Token::Word(word), |(_, token)| token.clone()), len))
}

fn word_len(text: &str) -> usize {
    let end = text.find(|c| !is_word_char(c)).unwrap_or(text.len());
    // `dmz->restricted` is three tokens.
    if text[end..].starts_with('>') && text[..end].ends_with('-') { end - 1 } else { end }
}

/// A backslash escapes the quote and itself; before anything else it stands for itself, so that regular expressions read
/// as usual.
fn quoted(text: &str, quote: char) -> Result<(Token<'_>, usize), &'static str> {
    let mut owned: Option<String> = None;
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let content = owned.map_or(Cow::Borrowed(&text[1..at]), Cow::Owned);
            return Ok((Token::Quoted(content), at + 1));
        }
        let escaped = chars.peek().map(|(_, next)| *next).filter(|next| c == '\\' && (*next == quote || *next == '\\'));
        if let Some(next) = escaped {
            owned.get_or_insert_with(|| text[1..at].to_owned()).push(next);
            chars.next();
        } else if let Some(owned) = &mut owned {
            owned.push(c);
        }
    }
    Err("this quote is never closed")
}
