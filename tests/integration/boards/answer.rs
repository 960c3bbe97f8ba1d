//! The answer to a question, computed twice: by a real server, and in plain code from the documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::kql::{Kql, parse, text, values};
use super::question::{How, Number, Part, Question};

/// Milliseconds; the end is not in it.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from: i64,
    pub to: i64,
    /// Length of the intervals of a time axis.
    pub step: i64,
}

impl Window {
    fn shifted(self, before: &str) -> Self {
        assert_eq!(before, "1d", "the only shift that is used");
        const DAY: i64 = 86_400_000;
        Self { from: self.from - DAY, to: self.to - DAY, ..self }
    }

    fn holds(self, document: &Value) -> bool {
        time(document).is_some_and(|time| (self.from..self.to).contains(&time))
    }

    fn query(self) -> Value {
        json!({"range": {"@timestamp": {"gte": self.from, "lt": self.to, "format": "epoch_millis"}}})
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Text(String),
    Number(f64),
    /// A percentile lies between two values, wherever the server's way to interpolate puts it.
    Between(f64, f64),
    Nothing,
}

impl Cell {
    pub fn number(&self) -> f64 {
        match self {
            Self::Number(number) | Self::Between(number, _) => *number,
            _ => 0.0,
        }
    }

    /// Sums of great numbers depend on their order in the last digits; counts of unique values are estimates above some
    /// thousands.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
            (Self::Between(low, high), Self::Number(b)) => (*low..=*high).contains(b),
            (a, b) => a == b,
        }
    }
}

/// Rows of keys and numbers, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub keys: usize,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// What differs first.
    pub fn differs_from(&self, served: &Self) -> Option<String> {
        if self.rows.len() != served.rows.len() {
            return Some(format!(
                "{} rows, and the server has {}:\n{:?}\n{:?}",
                self.rows.len(),
                served.rows.len(),
                self.rows,
                served.rows
            ));
        }
        let agree =
            |(a, b): &(&Vec<Cell>, &Vec<Cell>)| a.len() == b.len() && a.iter().zip(*b).all(|(a, b)| a.agrees(b));
        let pairs = self.rows.iter().zip(&served.rows);
        pairs.into_iter().find(|pair| !agree(pair)).map(|(a, b)| format!("{a:?}, and the server has {b:?}"))
    }

    /// A panel with nothing in it answers no question.
    pub fn is_empty(&self) -> bool {
        let nothing = |row: &Vec<Cell>| {
            row[self.keys..].iter().all(|cell| matches!(cell, Cell::Nothing) || *cell == Cell::Number(0.0))
        };
        self.rows.iter().all(nothing)
    }
}

pub fn time(document: &Value) -> Option<i64> {
    moment(document.get("@timestamp")?)
}

fn moment(value: &Value) -> Option<i64> {
    Some(value.as_str()?.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}

fn read(text: &str) -> Kql {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn shifts(question: &Question) -> bool {
    question.numbers.iter().any(|number| number.before.is_some())
}

fn window_of(number: &Number, window: Window) -> Window {
    number.before.as_deref().map_or(window, |before| window.shifted(before))
}

/// The most buckets that an answer can have: what it costs the server. A time axis has at most a hundred intervals.
pub fn most_buckets(question: &Question) -> u64 {
    let of = |part: &Part| match part {
        Part::Time => 100,
        Part::Top { size, .. } => *size,
        Part::Rare { .. } => 100,
        Part::Filters(filters) => filters.len() as u64,
    };
    question.parts.iter().map(of).product()
}

// ---- the server's ----

/// The search that Lens and the visualizations of OpenSearch Dashboards make of it.
pub fn request(question: &Question, window: Window) -> Value {
    let mut times = vec![window.query()];
    times.extend(question.numbers.iter().filter(|n| n.before.is_some()).map(|n| window_of(n, window).query()));
    let mut filters: Vec<Value> = question.filters.iter().map(|text| read(text).query()).collect();
    filters.push(json!({"bool": {"should": times, "minimum_should_match": 1}}));
    json!({"size": 0, "query": {"bool": {"filter": filters}}, "aggs": aggs(question, &question.parts, window)})
}

fn aggs(question: &Question, parts: &[Part], window: Window) -> Value {
    let Some((part, rest)) = parts.split_first() else {
        let numbers = question.numbers.iter().enumerate();
        return Value::Object(
            numbers.map(|(index, number)| (format!("n{index}"), number_agg(question, number, window))).collect(),
        );
    };
    let mut inner = match aggs(question, rest, window) {
        Value::Object(inner) => inner,
        _ => Map::new(),
    };
    let mut agg = match part {
        Part::Time => {
            json!({"date_histogram": {"field": "@timestamp", "fixed_interval": format!("{}ms", window.step), "min_doc_count": 1}})
        }
        Part::Rare { field, at_most } => json!({"rare_terms": {"field": field, "max_doc_count": at_most}}),
        Part::Filters(filters) => {
            let named: Map<_, _> = filters.iter().map(|(label, kql)| (label.clone(), read(kql).query())).collect();
            json!({"filters": {"filters": named}})
        }
        Part::Top { field, size, ascending, include } => {
            // The number that it is ordered by must stand in the bucket itself.
            inner.insert("order".to_owned(), number_agg(question, &question.numbers[0], window));
            let path = match (shifts(question), &question.numbers[0].how) {
                (true, _) => "order>v",
                (_, How::P95) => "order.95",
                _ => "order",
            };
            let direction = if *ascending { "asc" } else { "desc" };
            let mut terms = json!({"field": field, "size": size, "order": [{path: direction}, {"_key": "asc"}]});
            if let Some(include) = include {
                terms["include"] = json!(include);
            }
            json!({"terms": terms})
        }
    };
    agg["aggs"] = inner.into();
    json!({"part": agg})
}

fn number_agg(question: &Question, number: &Number, window: Window) -> Value {
    let field = number.field.as_deref().unwrap_or("@timestamp");
    let agg = match &number.how {
        How::Count => json!({"value_count": {"field": field}}),
        How::Sum => json!({"sum": {"field": field}}),
        How::Unique => json!({"cardinality": {"field": field}}),
        How::Max => json!({"max": {"field": field}}),
        How::Min => json!({"min": {"field": field}}),
        How::Average => json!({"avg": {"field": field}}),
        How::P95 => json!({"percentiles": {"field": field, "percents": [95]}}),
        // Two sums: of the part within its filter, and of all.
        How::Share(of) => json!({"filters": {
            "filters": {"part": read(of).query(), "whole": {"match_all": {}}},
        }, "aggs": {"v": {"sum": {"field": field}}}}),
    };
    if shifts(question) {
        return json!({"filter": window_of(number, window).query(), "aggs": {"v": agg}});
    }
    agg
}

pub fn served(question: &Question, window: Window, answer: &Value) -> Table {
    let mut rows = Vec::new();
    collect(question, &question.parts, window, &answer["aggregations"], &mut Vec::new(), &mut rows);
    finish(question, rows)
}

fn collect(
    q: &Question,
    parts: &[Part],
    window: Window,
    aggs: &Value,
    keys: &mut Vec<Cell>,
    rows: &mut Vec<Vec<Cell>>,
) {
    if parts.is_empty() {
        let numbers = q
            .numbers
            .iter()
            .enumerate()
            .map(|(index, number)| served_number(q, number, window, &aggs[format!("n{index}")]));
        rows.push(keys.iter().cloned().chain(numbers).collect());
        return;
    }
    let buckets = &aggs["part"]["buckets"];
    let list: Vec<(Cell, &Value)> = match (&parts[0], buckets) {
        (Part::Filters(filters), named) => {
            filters.iter().map(|(label, _)| (Cell::Text(label.clone()), &named[label])).collect()
        }
        (_, Value::Array(list)) => list.iter().map(|bucket| (key(&bucket["key"]), bucket)).collect(),
        (_, other) => panic!("no buckets: {other}"),
    };
    for (key, bucket) in list {
        keys.push(key);
        collect(q, &parts[1..], window, bucket, keys, rows);
        keys.pop();
    }
}

fn key(value: &Value) -> Cell {
    value.as_f64().map_or_else(|| Cell::Text(text(value)), Cell::Number)
}

fn served_number(question: &Question, number: &Number, window: Window, agg: &Value) -> Cell {
    let agg = if shifts(question) { &agg["v"] } else { agg };
    let value = match &number.how {
        How::Share(_) => {
            let sum = |name: &str| agg["buckets"][name]["v"]["value"].as_f64().expect("a sum");
            (sum("whole") > 0.0).then(|| sum("part") / sum("whole"))
        }
        How::P95 => agg["values"]["95.0"].as_f64(),
        _ => agg["value"].as_f64(),
    };
    cell(value, number, window)
}

fn cell(value: Option<f64>, number: &Number, window: Window) -> Cell {
    let per = if number.per_second { window.step as f64 / 1000.0 } else { 1.0 };
    value.map_or(Cell::Nothing, |value| Cell::Number(value / per))
}

/// Rare values come in no order that one can rely on.
fn finish(question: &Question, mut rows: Vec<Vec<Cell>>) -> Table {
    if question.parts.iter().any(|part| matches!(part, Part::Rare { .. })) {
        rows.sort_by_key(|row| format!("{row:?}"));
    }
    Table { keys: question.parts.len(), rows }
}

// ---- in plain code ----

pub fn computed(question: &Question, window: Window, documents: &[Value]) -> Table {
    let filters: Vec<Kql> = question.filters.iter().map(|text| read(text)).collect();
    let windows: Vec<Window> =
        question.numbers.iter().map(|number| window_of(number, window)).chain([window]).collect();
    let chosen: Vec<&Value> = documents
        .iter()
        .filter(|document| windows.iter().any(|window| window.holds(document)))
        .filter(|document| filters.iter().all(|filter| filter.matches(document)))
        .collect();
    let mut rows = Vec::new();
    split(question, &question.parts, window, &chosen, &mut Vec::new(), &mut rows);
    finish(question, rows)
}

fn split(
    q: &Question,
    parts: &[Part],
    window: Window,
    documents: &[&Value],
    keys: &mut Vec<Cell>,
    rows: &mut Vec<Vec<Cell>>,
) {
    let Some((part, rest)) = parts.split_first() else {
        rows.push(keys.iter().cloned().chain(numbers(q, window, documents)).collect());
        return;
    };
    for (key, documents) in groups(q, part, window, documents) {
        keys.push(key);
        split(q, rest, window, &documents, keys, rows);
        keys.pop();
    }
}

fn groups<'a>(q: &Question, part: &Part, window: Window, documents: &[&'a Value]) -> Vec<(Cell, Vec<&'a Value>)> {
    match part {
        Part::Filters(filters) => {
            let group = |(label, kql): &(String, String)| {
                let kql = read(kql);
                (
                    Cell::Text(label.clone()),
                    documents.iter().copied().filter(|document| kql.matches(document)).collect(),
                )
            };
            filters.iter().map(group).collect()
        }
        Part::Time => {
            let mut groups: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
            for document in documents {
                let time = time(document).expect("a time");
                groups.entry(time.div_euclid(window.step) * window.step).or_default().push(document);
            }
            groups.into_iter().map(|(time, documents)| (Cell::Number(time as f64), documents)).collect()
        }
        Part::Rare { field, at_most } => {
            let mut groups = by_value(field, documents);
            groups.retain(|(_, documents)| documents.len() as u64 <= *at_most);
            groups
        }
        Part::Top { field, size, ascending, include } => {
            let held = include.as_ref().map(|regex| held(regex));
            let rank =
                |documents: &[&Value]| numbers(q, window, documents)[0].number() * if *ascending { 1.0 } else { -1.0 };
            let mut groups = by_value(field, documents);
            groups.retain(|(key, _)| {
                held.as_ref().is_none_or(|held| matches!(key, Cell::Text(text) if text.contains(held)))
            });
            // Stable: equal ones stay in the order of their keys.
            groups.sort_by(|(_, a), (_, b)| rank(a).total_cmp(&rank(b)));
            groups.truncate(*size as usize);
            groups
        }
    }
}

/// The text that `.*text.*` looks for, the only form in use.
fn held(regex: &str) -> String {
    let inner = regex.strip_prefix(".*").and_then(|rest| rest.strip_suffix(".*"));
    inner.unwrap_or_else(|| panic!("{regex} has another form")).replace('\\', "")
}

/// In the order of keys: numbers as numbers, texts by their bytes.
fn by_value<'a>(field: &str, documents: &[&'a Value]) -> Vec<(Cell, Vec<&'a Value>)> {
    let mut groups: BTreeMap<(u64, String), Vec<&Value>> = BTreeMap::new();
    for document in documents {
        let keys: BTreeSet<(u64, String)> =
            values(document, field).iter().map(|value| (value.as_u64().unwrap_or(0), text(value))).collect();
        for key in keys {
            groups.entry(key).or_default().push(document);
        }
    }
    let is_number = |text: &str| text.parse::<u64>().is_ok() && field.ends_with("port");
    let cell =
        |text: String| if is_number(&text) { Cell::Number(text.parse().expect("a number")) } else { Cell::Text(text) };
    groups.into_iter().map(|((_, text), documents)| (cell(text), documents)).collect()
}

fn numbers(question: &Question, window: Window, documents: &[&Value]) -> Vec<Cell> {
    question.numbers.iter().map(|number| number_of(number, window, documents)).collect()
}

fn number_of(number: &Number, window: Window, documents: &[&Value]) -> Cell {
    let within = window_of(number, window);
    let documents: Vec<&Value> = documents.iter().copied().filter(|document| within.holds(document)).collect();
    let field = number.field.as_deref().unwrap_or("@timestamp");
    let all = || documents.iter().flat_map(|document| values(document, field));
    let list = || all().filter_map(|value| value.as_f64().or_else(|| moment(value).map(|time| time as f64)));
    let sum = |of: Option<&Kql>| -> f64 {
        let kept = documents.iter().filter(|document| of.is_none_or(|kql| kql.matches(document)));
        kept.flat_map(|document| values(document, field)).filter_map(Value::as_f64).sum()
    };
    let value = match &number.how {
        How::Count => Some(documents.len() as f64),
        // Of nothing it is -0, which is nobody's number.
        How::Sum => Some(sum(None) + 0.0),
        How::Unique => Some(all().map(text).collect::<BTreeSet<_>>().len() as f64),
        How::Max => list().reduce(f64::max),
        How::Min => list().reduce(f64::min),
        How::Average => (list().count() > 0).then(|| list().sum::<f64>() / list().count() as f64),
        How::Share(of) => (sum(None) > 0.0).then(|| sum(Some(&read(of))) / sum(None)),
        How::P95 => return percentile(list().collect()),
    };
    cell(value, number, window)
}

fn percentile(mut list: Vec<f64>) -> Cell {
    list.sort_by(f64::total_cmp);
    let Some(last) = list.len().checked_sub(1) else { return Cell::Nothing };
    let at = 0.95 * list.len() as f64;
    let low = (at.floor() as usize).saturating_sub(1).min(last);
    Cell::Between(list[low], list[(at.ceil() as usize).min(last)])
}

/// The comparison is worth something only if it sees what is wrong.
#[test]
fn a_wrong_answer_is_seen() {
    let document = |verdict: &str, bytes: u64| json!({"@timestamp": "2026-01-01T01:00:00Z", "calico": {"action": verdict}, "network": {"bytes": bytes}});
    let documents = [document("allow", 7), document("allow", 5), document("deny", 3)];
    let window = Window { from: 1_767_225_600_000, to: 1_767_312_000_000, step: 1_800_000 };
    let ask = |filter: &str, size: u64, how: How| {
        let field = Some("network.bytes".to_owned());
        let question = Question {
            filters: vec![filter.to_owned()],
            parts: vec![Part::Top { field: "calico.action".to_owned(), size, ascending: false, include: None }],
            numbers: vec![Number { how, field, before: None, per_second: false }],
        };
        computed(&question, window, &documents)
    };
    let right = ask("", 5, How::Sum);
    let row = |name: &str, number: f64| vec![Cell::Text(name.to_owned()), Cell::Number(number)];
    assert_eq!(right, Table { keys: 1, rows: vec![row("allow", 12.0), row("deny", 3.0)] });
    assert_eq!(right.differs_from(&ask("", 5, How::Sum)), None);
    for wrong in
        [ask("calico.action: allow", 5, How::Sum), ask("", 1, How::Sum), ask("", 5, How::Max), ask("", 5, How::Count)]
    {
        assert!(right.differs_from(&wrong).is_some(), "{wrong:?}");
    }
    assert!(ask("calico.action: pass", 5, How::Sum).is_empty());
    let empty = Question { filters: vec!["network.bytes > 9".to_owned()], parts: Vec::new(), numbers: Vec::new() };
    assert!(computed(&empty, window, &documents).is_empty());
}
