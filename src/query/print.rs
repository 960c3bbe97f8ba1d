//! A tree as text, in one fixed form that parses to the same tree.

use std::fmt;

use super::field::{Field, Id, Kind, Side, Unit};
use super::lex;
use super::pattern::{Pattern, Texts};
use super::tree::{Check, Node, Order, Pair, Test};
use crate::model::net::Protocol;

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(parts) => joined(f, parts, " and "),
            // `and` binds tighter: parentheses that nobody wrote could make the text deeper than it may be.
            Self::Or(parts) => joined(f, parts, " or "),
            Self::Not(inner) => match &**inner {
                Self::Test(test) => test.write(f, true),
                inner => write!(f, "not ({inner})"),
            },
            Self::Test(test) => test.write(f, false),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Node], word: &str) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        f.write_str(if i > 0 { word } else { "" })?;
        match part {
            Node::Or(_) => write!(f, "({part})")?,
            Node::And(_) | Node::Not(_) | Node::Test(_) => write!(f, "{part}")?,
        }
    }
    Ok(())
}

impl Test {
    fn write(&self, f: &mut fmt::Formatter<'_>, negated: bool) -> fmt::Result {
        let not = if negated { "not " } else { "" };
        let (equal, is_in) = if negated { ("!=", "not in") } else { ("=", "in") };
        match self {
            Self::Ends(source, dest) => write!(f, "{source} {equal} {dest}"),
            Self::Zones(pairs) => match &**pairs {
                [pair] => write!(f, "zones {equal} {pair}"),
                pairs => {
                    write!(f, "zones {is_in} ")?;
                    set(f, pairs.iter())
                }
            },
            Self::Field(field, Check::There) if field.spec().kind == Kind::Flag => write!(f, "{not}{field}"),
            Self::Field(field, Check::There) => write!(f, "{not}exists {field}"),
            Self::Field(field, Check::Like(regex)) => {
                write!(f, "{field} {} {}", if negated { "!~" } else { "=~" }, Quoted(regex.text()))
            }
            Self::Field(field, Check::Order(order, number)) => {
                write!(f, "{not}{field} {} {}", order.as_str(), Value(field, *number))
            }
            Self::Field(field, Check::Texts(texts)) => {
                write!(f, "{field} {} ", if texts.len() == 1 { equal } else { is_in })?;
                write_texts(f, texts)
            }
            Self::Field(field, Check::Numbers(ranges)) => {
                let range = |(first, last): &(i128, i128)| Range(field, *first, *last);
                match &**ranges {
                    [one] => write!(f, "{field} {equal} {}", range(one)),
                    ranges => {
                        write!(f, "{field} {is_in} ")?;
                        set(f, ranges.iter().map(range))
                    }
                }
            }
            Self::Field(field, Check::Nets(nets)) => match &**nets {
                [net] if net.prefix_len() == net.max_prefix_len() => write!(f, "{field} {equal} {}", net.addr()),
                [net] => write!(f, "{field} {is_in} {net}"),
                nets => {
                    write!(f, "{field} {is_in} ")?;
                    set(f, nets.iter())
                }
            },
        }
    }
}

impl Order {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }
}

fn set<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
    for (i, item) in items.enumerate() {
        write!(f, "{}{item}", if i > 0 { ", " } else { "(" })?;
    }
    f.write_str(")")
}

fn write_texts(f: &mut fmt::Formatter<'_>, texts: &Texts) -> fmt::Result {
    match (&*texts.exact, &*texts.globs) {
        ([one], []) => write!(f, "{}", Bare(one)),
        ([], [one]) => f.write_str(one),
        (exact, globs) => {
            for (i, text) in exact.iter().enumerate() {
                write!(f, "{}{}", if i > 0 { ", " } else { "(" }, Bare(text))?;
            }
            for (i, text) in globs.iter().enumerate() {
                write!(f, "{}{text}", if i > 0 || !exact.is_empty() { ", " } else { "(" })?;
            }
            f.write_str(")")
        }
    }
}

/// A number in its field's unit.
struct Value<'a>(&'a Field, i128);

/// Largest first.
const SIZES: [(&str, i128); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.1;
        match self.0.spec().kind {
            Kind::Number(Unit::Bytes) => {
                let exact = SIZES.iter().find(|(_, bytes)| number >= *bytes && number % bytes == 0);
                match exact {
                    Some((unit, bytes)) => write!(f, "{}{unit}", number / bytes),
                    None => write!(f, "{number}"),
                }
            }
            Kind::Protocol => match u8::try_from(number).ok().and_then(|number| Protocol(number).keyword()) {
                Some(keyword) => f.write_str(keyword),
                None => write!(f, "{number}"),
            },
            _ => write!(f, "{number}"),
        }
    }
}

struct Range<'a>(&'a Field, i128, i128);

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(field, first, last) = *self;
        write!(f, "{}", Value(field, first))?;
        if last > first { write!(f, "-{}", Value(field, last)) } else { Ok(()) }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.from, if self.both { "<->" } else { "->" }, self.to)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => Bare(text).fmt(f),
            Self::Glob(text) => f.write_str(text),
        }
    }
}

/// Text without quotes where nothing else can be meant by it.
struct Bare<'a>(&'a str);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let word = !text.is_empty() && text.chars().all(lex::is_word_char) && !text.contains('*');
        let field = || Field::named(text).is_ok_and(|field| field.side != Side::Either || field.id == Id::Label);
        if word && !lex::is_keyword(text) && !field() { f.write_str(text) } else { Quoted(text).fmt(f) }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars().peekable();
        f.write_str("\"")?;
        while let Some(c) = chars.next() {
            // As few backslashes as the reader needs.
            let escape = c == '"' || (c == '\\' && matches!(chars.peek(), None | Some('"' | '\\')));
            write!(f, "{}{c}", if escape { "\\" } else { "" })?;
        }
        f.write_str("\"")
    }
}
