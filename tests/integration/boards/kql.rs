//! Kibana's query language, as much of it as the boards use: read, asked of a document in plain code, and turned into the
//! query that Kibana makes of it.

use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq)]
pub enum Kql {
    All,
    And(Vec<Kql>),
    Or(Vec<Kql>),
    Not(Box<Kql>),
    Exists(String),
    /// A value, perhaps with `*`.
    Is(String, String),
    /// `<`, `<=`, `>` or `>=`.
    Range(String, &'static str, f64),
}

/// What is wrong with the text, if it is not what we understand.
pub fn parse(text: &str) -> Result<Kql, String> {
    if text.trim().is_empty() {
        return Ok(Kql::All);
    }
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, at: 0 };
    let kql = reader.or()?;
    match reader.peek() {
        None => Ok(kql),
        Some(token) => Err(format!("{token:?} is left over in {text:?}")),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    Colon,
    Compare(&'static str),
    Word(String),
    Quoted(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ':' => (Token::Colon, 1),
            '<' | '>' => {
                let name = ["<=", ">=", "<", ">"].into_iter().find(|name| rest.starts_with(name)).unwrap_or("<");
                (Token::Compare(name), name.len())
            }
            '"' => {
                let end = rest[1..].find('"').ok_or_else(|| format!("an open quotation in {text:?}"))?;
                (Token::Quoted(rest[1..=end].to_owned()), end + 2)
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "():<>\"".contains(c)).unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<Token, String> {
        let token = self.peek().cloned().ok_or("it ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn word(&mut self, word: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.at += usize::from(there);
        there
    }

    fn or(&mut self) -> Result<Kql, String> {
        let mut parts = vec![self.and()?];
        while self.word("or") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Kql::Or(parts) })
    }

    fn and(&mut self) -> Result<Kql, String> {
        let mut parts = vec![self.not()?];
        while self.word("and") {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Kql::And(parts) })
    }

    fn not(&mut self) -> Result<Kql, String> {
        if self.word("not") {
            return Ok(Kql::Not(Box::new(self.not()?)));
        }
        match self.next()? {
            Token::Open => {
                let kql = self.or()?;
                self.close()?;
                Ok(kql)
            }
            Token::Word(field) => self.condition(field),
            token => Err(format!("{token:?} where a field should be")),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        match self.next()? {
            Token::Close => Ok(()),
            token => Err(format!("{token:?} where a bracket should close")),
        }
    }

    fn condition(&mut self, field: String) -> Result<Kql, String> {
        match self.next()? {
            Token::Colon => self.values(field),
            Token::Compare(how) => match self.next()? {
                Token::Word(number) => {
                    let number = number.parse().map_err(|_| format!("{number} is no number"))?;
                    Ok(Kql::Range(field, how, number))
                }
                token => Err(format!("{token:?} where a number should be")),
            },
            token => Err(format!("{token:?} behind the field {field}")),
        }
    }

    fn values(&mut self, field: String) -> Result<Kql, String> {
        if self.peek() != Some(&Token::Open) {
            return self.value(field);
        }
        self.at += 1;
        let mut parts = vec![self.value(field.clone())?];
        while self.word("or") {
            parts.push(self.value(field.clone())?);
        }
        self.close()?;
        Ok(Kql::Or(parts))
    }

    fn value(&mut self, field: String) -> Result<Kql, String> {
        match self.next()? {
            Token::Word(value) if value == "*" => Ok(Kql::Exists(field)),
            Token::Word(value) => Ok(Kql::Is(field, value)),
            Token::Quoted(value) if value.contains('*') => Err(format!("{value:?}: a star in quotes is no wildcard")),
            Token::Quoted(value) => Ok(Kql::Is(field, value)),
            token => Err(format!("{token:?} where a value of {field} should be")),
        }
    }
}

impl Kql {
    /// The query that Kibana sends.
    pub fn query(&self) -> Value {
        let all = |parts: &[Self]| parts.iter().map(Self::query).collect::<Vec<_>>();
        match self {
            Self::All => json!({"match_all": {}}),
            Self::And(parts) => json!({"bool": {"filter": all(parts)}}),
            Self::Or(parts) => json!({"bool": {"should": all(parts), "minimum_should_match": 1}}),
            Self::Not(part) => json!({"bool": {"must_not": [part.query()]}}),
            Self::Exists(field) => json!({"exists": {"field": field}}),
            Self::Is(field, value) if value.contains('*') => json!({"wildcard": {field: {"value": value}}}),
            Self::Is(field, value) => json!({"match": {field: value}}),
            Self::Range(field, how, number) => {
                let name = match *how {
                    "<" => "lt",
                    "<=" => "lte",
                    ">" => "gt",
                    _ => "gte",
                };
                json!({"range": {field: {name: number}}})
            }
        }
    }

    pub fn matches(&self, document: &Value) -> bool {
        match self {
            Self::All => true,
            Self::And(parts) => parts.iter().all(|part| part.matches(document)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(document)),
            Self::Not(part) => !part.matches(document),
            Self::Exists(field) => !values(document, field).is_empty(),
            Self::Is(field, wanted) => values(document, field).iter().any(|value| glob(wanted, &text(value))),
            Self::Range(field, how, number) => values(document, field).iter().any(|value| {
                let Some(value) = value.as_f64() else { return false };
                match *how {
                    "<" => value < *number,
                    "<=" => value <= *number,
                    ">" => value > *number,
                    _ => value >= *number,
                }
            }),
        }
    }

    /// Every field named, with what is asked of it: `is`, `wildcard`, `exists`, `range`.
    pub fn fields(&self) -> Vec<(&str, &'static str)> {
        match self {
            Self::All => Vec::new(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Not(part) => part.fields(),
            Self::Exists(field) => vec![(field, "exists")],
            Self::Is(field, value) => vec![(field, if value.contains('*') { "wildcard" } else { "is" })],
            Self::Range(field, ..) => vec![(field, "range")],
        }
    }
}

/// The values of a field in a document: none, one, or those of a list. What is longer than `ignore_above` has none.
pub fn values<'a>(document: &'a Value, field: &str) -> Vec<&'a Value> {
    let found = field.split('.').try_fold(document, |value, name| value.get(name));
    let list = match found {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().collect(),
        Some(value) => vec![value],
    };
    let indexed = |value: &&Value| value.as_str().is_none_or(|text| text.chars().count() <= 1024);
    list.into_iter().filter(indexed).collect()
}

pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn kql_is_read_and_answered() {
    let document = json!({"a": {"b": ["x", "y|deny|z"]}, "n": 7, "t": true});
    for (text, expected) in [
        ("", true),
        ("a.b: x", true),
        ("a.b: z", false),
        ("a.b: *|deny|*", true),
        ("a.b: (q or x) and n >= 7", true),
        ("not a.b: x or n < 7", false),
        ("t: true and c: *", false),
        ("not (c: * or n: 8)", true),
        (r#"a.b: "x""#, true),
    ] {
        assert_eq!(parse(text).map(|kql| kql.matches(&document)), Ok(expected), "{text}");
    }
    for text in ["a.b x", "a.b:", "(a: b", "a: b c: d", r#"a: "b"#, "a: b and", "n > x", r#"a: "b*""#] {
        assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
    }
}
