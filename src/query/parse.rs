//! Text to tree, every name and value checked on the way.
//!
//! `or` of `and` of parts; a part is `not` part, `(…)`, `exists FIELD`, `FIELD OPERATOR VALUE`, `FIELD [not] in (VALUE, …)`,
//! a flag, or `zones = FROM -> TO`. A wrong name or value does not end the reading; a fault of the grammar does.

use super::errors::{Error, Errors};
use super::field::{Ends, Field, Id, Kind, Side, Unit};
use super::lex::{self, Operator, Token};
use super::literal::{self, Literal};
use super::pattern::{Pattern, Regex, Texts};
use super::tree::{self, Check, Node, Order, Pair, Test};
use super::{MAX_DEPTH, MAX_REGEXES, MAX_SET, MAX_TEXT_BYTES, NamedZone};
use crate::model::event::UNKNOWN_ZONE;

/// The reading ended: the fault is noted.
struct Stop;
type Read<T> = Result<T, Stop>;

pub fn parse(text: &str) -> Result<(Node, Vec<NamedZone>), Errors> {
    let mut parser = Parser { text, at: 0, depth: 0, regexes: 0, errors: Vec::new(), zones: Vec::new() };
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the expression is longer than {} KiB", MAX_TEXT_BYTES >> 10);
        return Err(Errors(vec![Error::new("", 0, message)]));
    }
    match parser.whole() {
        Ok(node) if parser.errors.is_empty() => Ok((node, parser.zones)),
        _ => {
            parser.errors.sort_by_key(|error| error.offset);
            Err(Errors(parser.errors))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    regexes: usize,
    errors: Vec<Error>,
    zones: Vec<NamedZone>,
}

/// Stands for what is wrong: the tree is not given out then.
fn nothing() -> Node {
    Node::Or(Box::default())
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Read<Node> {
        if self.peek()? == Token::End {
            return self.stop("the expression is empty; write one as verdict = deny");
        }
        let node = self.or()?;
        match self.peek()? {
            Token::End => Ok(node),
            Token::Close(_) => self.stop("this closes nothing; remove it"),
            Token::Comma => self.stop("a comma stands only within a set: in (a, b); join conditions by and or or"),
            Token::Word(_) | Token::Quoted(_) => {
                self.stop("expected and, or, or the end; put a value that holds spaces in quotes")
            }
            _ => self.stop("expected and, or, or the end"),
        }
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.text[self.at..].trim_start().len();
    }

    fn peek(&mut self) -> Read<Token<'a>> {
        self.token().map(|(token, _)| token)
    }

    fn token(&mut self) -> Read<(Token<'a>, usize)> {
        self.skip_space();
        let text: &'a str = &self.text[self.at..];
        lex::token(text).or_else(|message| self.stop(message))
    }

    /// The next token and where it began.
    fn next(&mut self) -> Read<(Token<'a>, usize)> {
        let (token, len) = self.token()?;
        let at = self.at;
        self.at += len;
        Ok((token, at))
    }

    fn take(&mut self, token: &Token<'_>) -> Read<bool> {
        let (next, len) = self.token()?;
        let found = next == *token;
        self.at += if found { len } else { 0 };
        Ok(found)
    }

    fn note(&mut self, offset: usize, message: impl Into<String>) {
        self.errors.push(Error::new(self.text, offset, message.into()));
    }

    fn stop<T>(&mut self, message: impl Into<String>) -> Read<T> {
        self.stop_at(self.at, message)
    }

    fn stop_at<T>(&mut self, offset: usize, message: impl Into<String>) -> Read<T> {
        self.note(offset, message);
        Err(Stop)
    }

    fn or(&mut self) -> Read<Node> {
        let mut parts = vec![self.and()?];
        while self.take(&Token::Or)? {
            parts.push(self.and()?);
        }
        Ok(Node::or(parts))
    }

    fn and(&mut self) -> Read<Node> {
        let mut parts = vec![self.part()?];
        while self.take(&Token::And)? {
            parts.push(self.part()?);
        }
        Ok(Node::and(parts))
    }

    fn part(&mut self) -> Read<Node> {
        let (token, at) = self.next()?;
        match token {
            Token::Not => self.deeper(at, |parser| parser.part().map(Node::negated)),
            Token::Open('(') => self.deeper(at, |parser| parser.parenthesised(at)),
            Token::Exists => self.exists(),
            Token::Word("has") if self.peek()? == Token::Open('(') => self.has(),
            Token::Word("zones") => self.pairs(),
            Token::Word(name) => self.condition(name, at),
            Token::End => self.stop("the expression ends here; a condition must follow, as verdict = deny"),
            Token::Quoted(_) => self.stop_at(at, "a field comes first, without quotes: namespace = \"shop\""),
            Token::Operator(operator) => self.stop_at(at, format!("a field is missing before {}", operator.as_str())),
            _ => self.stop_at(at, "expected a condition here, as verdict = deny, not …, or ("),
        }
    }

    fn deeper(&mut self, at: usize, read: impl FnOnce(&mut Self) -> Read<Node>) -> Read<Node> {
        if self.depth == MAX_DEPTH {
            return self.stop_at(at, format!("more than {MAX_DEPTH} of ( and not in each other; write it flatter"));
        }
        self.depth += 1;
        let node = read(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn parenthesised(&mut self, open: usize) -> Read<Node> {
        let node = self.or()?;
        if self.take(&Token::Close(')'))? {
            return Ok(node);
        }
        match self.peek()? {
            Token::End => self.stop_at(open, "this ( is never closed; add )"),
            _ => self.stop("expected ), and, or or here"),
        }
    }

    fn exists(&mut self) -> Read<Node> {
        let (token, at) = self.next()?;
        let Token::Word(name) = token else {
            return self.stop_at(at, "a field must follow exists, as in exists source.ip");
        };
        Ok(match self.field(name, at) {
            Some(field) if field.spec().kind == Kind::Flag => {
                self.note(at, format!("{field} is always known; write {field}, or not {field}"));
                nothing()
            }
            Some(field) => Node::Test(Test::Field(field, Check::There)),
            None => nothing(),
        })
    }

    fn has(&mut self) -> Read<Node> {
        self.next()?;
        let node = self.exists()?;
        if self.take(&Token::Close(')'))? { Ok(node) } else { self.stop("expected ) to close has(") }
    }

    fn field(&mut self, name: &str, at: usize) -> Option<Field> {
        Field::named(name).map_err(|message| self.note(at, message)).ok()
    }

    /// What follows a field's name.
    fn condition(&mut self, name: &'a str, at: usize) -> Read<Node> {
        let after = self.at;
        let (token, operator_at) = self.next()?;
        match token {
            Token::Operator(operator) => {
                let field = self.field(name, at);
                let value = self.value()?;
                let Some(field) = field else { return Ok(nothing()) };
                Ok(self.compared(field, operator, operator_at, &value).unwrap_or_else(nothing))
            }
            Token::In => {
                let field = self.field(name, at);
                let values = self.set(Self::value)?;
                Ok(field.and_then(|field| self.one_of(field, operator_at, &values)).unwrap_or_else(nothing))
            }
            Token::Not if self.take(&Token::In)? => {
                let field = self.field(name, at);
                let values = self.set(Self::value)?;
                let node = field.and_then(|field| self.one_of(field, operator_at, &values));
                Ok(node.map_or_else(nothing, Node::negated))
            }
            Token::Exists => {
                self.at = after;
                self.stop_at(operator_at, format!("write exists {name}"))
            }
            _ => {
                self.at = after;
                self.alone(name, at)
            }
        }
    }

    /// A name that nothing follows: a flag.
    fn alone(&mut self, name: &str, at: usize) -> Read<Node> {
        let Some(field) = self.field(name, at) else { return Err(Stop) };
        if field.spec().kind == Kind::Flag {
            return Ok(Node::Test(Test::Field(field, Check::There)));
        }
        let after = at + name.len();
        self.stop_at(after, format!("an operator must follow {field}: {}, as {}", operators(&field), example(&field)))
    }

    fn value(&mut self) -> Read<Literal<'a>> {
        let (token, offset) = self.next()?;
        match token {
            Token::Word(word) => Ok(Literal { text: word.into(), quoted: false, offset }),
            Token::Quoted(text) => Ok(Literal { text, quoted: true, offset }),
            Token::And | Token::Or | Token::Not | Token::In | Token::Exists => {
                self.stop_at(offset, "a value is missing here; a value that is a word of the language stands in quotes")
            }
            Token::End => self.stop("the expression ends here; a value must follow"),
            Token::Open(_) => self.stop_at(offset, "one value is expected here; write in before a set: in (a, b)"),
            _ => self.stop_at(offset, "a value is expected here; put text with such characters in quotes"),
        }
    }

    /// `(a, b)`, `{a, b}`, or one without parentheses.
    fn set<T>(&mut self, read: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let (token, len) = self.token()?;
        let close = match token {
            Token::Open('(') => ')',
            Token::Open(_) => '}',
            _ => return Ok(vec![read(self)?]),
        };
        let open = self.at;
        self.at += len;
        let mut values = Vec::new();
        loop {
            if self.take(&Token::Close(close))? {
                break;
            }
            values.push(read(self)?);
            if values.len() > MAX_SET {
                return self.stop(format!("a set has at most {MAX_SET} values; use ranges, wildcards or zones"));
            }
            if !self.take(&Token::Comma)? && self.peek()? != Token::Close(close) {
                return match self.peek()? {
                    Token::End => self.stop_at(open, format!("this set is never closed; add {close}")),
                    _ => self.stop(format!("expected , or {close} in the set")),
                };
            }
        }
        if values.is_empty() {
            return self.stop_at(open, "the set is empty, so nothing is in it; write at least one value");
        }
        Ok(values)
    }

    fn compared(&mut self, field: Field, operator: Operator, at: usize, value: &Literal<'_>) -> Option<Node> {
        match operator {
            Operator::Equal => self.equal(field, at, value),
            Operator::NotEqual => self.equal(field, at, value).map(Node::negated),
            Operator::Like => self.like(field, at, value),
            Operator::NotLike => self.like(field, at, value).map(Node::negated),
            Operator::Less => self.ordered(field, Order::Less, operator, at, value),
            Operator::AtMost => self.ordered(field, Order::AtMost, operator, at, value),
            Operator::More => self.ordered(field, Order::More, operator, at, value),
            Operator::AtLeast => self.ordered(field, Order::AtLeast, operator, at, value),
        }
    }

    fn equal(&mut self, field: Field, at: usize, value: &Literal<'_>) -> Option<Node> {
        if field.spec().kind == Kind::Flag {
            let node = Node::Test(Test::Field(field, Check::There));
            return match &*value.text.to_ascii_lowercase() {
                "true" | "yes" => Some(node),
                "false" | "no" => Some(node.negated()),
                _ => {
                    self.note(value.offset, "write true or false");
                    None
                }
            };
        }
        let other = if value.quoted { None } else { Field::named(&value.text).ok() };
        match other.filter(|other| other.side != Side::Either) {
            None => self.one_of(field, at, std::slice::from_ref(value)),
            Some(other) if field.faces(&other) && field.spec().ends == Ends::Either => {
                // One spelling: the source first.
                let (source, dest) = if field.side == Side::Source { (field, other) } else { (other, field) };
                Some(Node::Test(Test::Ends(source, dest)))
            }
            Some(other) => {
                self.note(
                    value.offset,
                    format!(
                        "{other} is a field, and only a field of one end and the same of the other can be compared, as \
                         source.namespace = dest.namespace; a value that is spelt like this stands in quotes"
                    ),
                );
                None
            }
        }
    }

    /// `=` and `in`.
    fn one_of(&mut self, field: Field, at: usize, values: &[Literal<'_>]) -> Option<Node> {
        let spec = field.spec();
        let check = match spec.kind {
            Kind::Text => {
                Check::Texts(Texts::new(values.iter().map(|value| Pattern::new(&value.text, value.quoted)).collect()))
            }
            Kind::Word(words) => {
                let words = self.each(values, |text| literal::word(text, words))?;
                Check::Texts(Texts::new(words.into_iter().map(|word| Pattern::new(word, true)).collect()))
            }
            Kind::Number(unit) => Check::Numbers(tree::ranges(self.each(values, |text| literal::range(text, unit))?)),
            Kind::Protocol => {
                let numbers = self.each(values, literal::protocol)?;
                Check::Numbers(tree::ranges(numbers.into_iter().map(|number| (number, number)).collect()))
            }
            Kind::Address => Check::Nets(tree::nets(self.each(values, literal::net)?)),
            Kind::Flag => {
                self.note(at, format!("{field} is true or false; write {field}, or not {field}"));
                return None;
            }
        };
        if spec.id == Id::Zone {
            values.iter().for_each(|value| self.note_zone(value));
        }
        Some(Node::Test(Test::Field(field, check)))
    }

    /// All values read, or every one that cannot be noted.
    fn each<T>(&mut self, values: &[Literal<'_>], read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let mut all = Vec::with_capacity(values.len());
        for value in values {
            match read(&value.text) {
                Ok(read) => all.push(read),
                Err(message) => self.note(value.offset, message),
            }
        }
        (all.len() == values.len()).then_some(all)
    }

    fn like(&mut self, field: Field, at: usize, value: &Literal<'_>) -> Option<Node> {
        if field.spec().kind != Kind::Text {
            self.note(at, format!("a regular expression is for text; for {field} there are {}", operators(&field)));
            return None;
        }
        self.regexes += 1;
        if self.regexes > MAX_REGEXES {
            self.note(at, format!("there are more than {MAX_REGEXES} regular expressions; join them by |"));
            return None;
        }
        match Regex::new(&value.text) {
            Ok(regex) => Some(Node::Test(Test::Field(field, Check::Like(regex)))),
            Err((within, message)) => {
                // Behind an escape in quotes the place is some bytes early.
                let offset = value.offset + usize::from(value.quoted) + within;
                let offset = (value.offset..=offset).rev().find(|offset| self.text.is_char_boundary(*offset));
                self.note(
                    offset.unwrap_or(value.offset),
                    format!("in the regular expression {:?}: {message}", value.text),
                );
                None
            }
        }
    }

    fn ordered(
        &mut self,
        field: Field,
        order: Order,
        operator: Operator,
        at: usize,
        value: &Literal<'_>,
    ) -> Option<Node> {
        let Kind::Number(unit) = field.spec().kind else {
            let (sign, known) = (operator.as_str(), operators(&field));
            self.note(at, format!("{field} has no order, so {sign} says nothing of it; there are {known}"));
            return None;
        };
        match literal::number(&value.text, unit) {
            Ok(number) => Some(Node::Test(Test::Field(field, Check::Order(order, number)))),
            Err(message) => {
                self.note(value.offset, message);
                None
            }
        }
    }

    /// Behind `zones`.
    fn pairs(&mut self) -> Read<Node> {
        let (token, at) = self.next()?;
        let (pairs, negated) = match token {
            Token::Operator(Operator::Equal) => (vec![self.pair()?], false),
            Token::Operator(Operator::NotEqual) => (vec![self.pair()?], true),
            Token::In => (self.set(Self::pair)?, false),
            Token::Not if self.take(&Token::In)? => (self.set(Self::pair)?, true),
            _ => return self.stop_at(at, "write zones = dmz -> restricted, or zones in (dmz -> a, b <-> c)"),
        };
        let mut pairs = pairs;
        pairs.sort_unstable();
        pairs.dedup();
        let node = Node::Test(Test::Zones(pairs.into()));
        Ok(if negated { node.negated() } else { node })
    }

    fn pair(&mut self) -> Read<Pair> {
        let from = self.value()?;
        let (token, at) = self.next()?;
        let both = match token {
            Token::Arrow => false,
            Token::Between => true,
            _ => return self.stop_at(at, "expected -> or <-> and a zone; * is any zone"),
        };
        let to = self.value()?;
        self.note_zone(&from);
        self.note_zone(&to);
        let pattern = |value: &Literal<'_>| Pattern::new(&value.text, value.quoted);
        let (mut from, mut to) = (pattern(&from), pattern(&to));
        // One spelling.
        if both && from > to {
            std::mem::swap(&mut from, &mut to);
        }
        Ok(Pair { from, to, both })
    }

    fn note_zone(&mut self, value: &Literal<'_>) {
        if *value.text != *UNKNOWN_ZONE && (value.quoted || !value.text.contains('*')) {
            let offset = value.offset + usize::from(value.quoted);
            self.zones.push(NamedZone { name: (&*value.text).into(), offset });
        }
    }
}

fn operators(field: &Field) -> &'static str {
    field.spec().kind.operators()
}

fn example(field: &Field) -> String {
    let value = match field.spec().kind {
        Kind::Text => "= x",
        Kind::Word(words) => return format!("{field} = {}", words.first().map_or("", |(word, _)| word)),
        Kind::Number(Unit::Port) => "= 443",
        Kind::Number(Unit::Bytes) => ">= 10MiB",
        Kind::Number(Unit::Count) => ">= 100",
        Kind::Protocol => "= tcp",
        Kind::Address => "in 10.0.0.0/8",
        Kind::Flag => "",
    };
    format!("{field} {value}")
}
