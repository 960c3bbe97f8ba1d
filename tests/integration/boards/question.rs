//! What a panel asks, read twice: from our page, and from the object that is shipped. The two must be equal.

use serde_json::Value;
use tidegate::setup::boards::opensearch::RAREST;
use tidegate::setup::boards::source::{Agg, Board, Bucket, CONNECTIONS, Common, Panel};

#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// KQL that all must hold: the board's and the panel's.
    pub filters: Vec<String>,
    pub parts: Vec<Part>,
    pub numbers: Vec<Number>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Time,
    /// `include`: a regular expression of Lucene.
    Top {
        field: String,
        size: u64,
        ascending: bool,
        include: Option<String>,
    },
    Rare {
        field: String,
        at_most: u64,
    },
    Filters(Vec<(String, String)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    pub how: How,
    pub field: Option<String>,
    pub before: Option<String>,
    pub per_second: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum How {
    Count,
    Sum,
    Unique,
    Max,
    Min,
    Average,
    P95,
    /// The sum of what matches, of the sum of all.
    Share(String),
}

fn part(common: &Common, bucket: &Bucket) -> Part {
    match bucket {
        Bucket::Time(_) => Part::Time,
        Bucket::Top(top) => Part::Top {
            field: top.top.clone(),
            size: top.size.into(),
            ascending: top.ascending,
            include: top.include(),
        },
        Bucket::Rare(rare) => Part::Rare { field: rare.rare.clone(), at_most: rare.at_most.into() },
        Bucket::Filters(bucket) => {
            let filter =
                |filter: &tidegate::setup::boards::source::Filter| (filter.label.clone(), common.kql(&filter.kql));
            Part::Filters(bucket.filters.iter().map(filter).collect())
        }
    }
}

/// What the page says that Kibana's panel asks.
pub fn asked(common: &Common, board: &Board, panel: &Panel) -> Question {
    let mut numbers = Vec::new();
    for metric in &panel.show {
        let how = match metric.agg {
            Agg::Count => How::Count,
            Agg::Sum => How::Sum,
            Agg::Unique => How::Unique,
            Agg::Max => How::Max,
            Agg::Min => How::Min,
            Agg::Average => How::Average,
            Agg::P95 => How::P95,
            Agg::Share => How::Share(common.kql(metric.of.as_deref().expect("a share is of something"))),
        };
        let share = metric.agg == Agg::Share;
        let field = if share { Some(CONNECTIONS.to_owned()) } else { metric.field.clone() };
        let number = Number { how, field, before: None, per_second: metric.per_second };
        numbers.push(number.clone());
        if metric.before.is_some() {
            numbers.push(Number { before: metric.before.clone(), ..number });
        }
    }
    let filters = vec![common.kql(&board.filter), common.kql(&panel.filter)];
    Question { filters, parts: panel.nested().map(|(_, bucket)| part(common, bucket)).collect(), numbers }
}

/// What OpenSearch Dashboards can ask of it.
pub fn asked_of_opensearch(common: &Common, board: &Board, panel: &Panel) -> Question {
    let mut question = asked(common, board, panel);
    question.numbers.retain(|number| number.before.is_none());
    for part in &mut question.parts {
        if let Part::Rare { field, .. } = part {
            *part = Part::Top { field: field.clone(), size: RAREST.into(), ascending: true, include: None };
        }
    }
    for (number, metric) in question.numbers.iter_mut().zip(&panel.show) {
        number.per_second = false;
        if let How::Share(of) = &number.how {
            let rest = ("Everything else".to_owned(), format!("not ({of})"));
            question.parts.push(Part::Filters(vec![(metric.label(common), of.clone()), rest]));
            number.how = How::Sum;
        }
    }
    question
}

pub fn embedded(text: &Value) -> Value {
    serde_json::from_str(text.as_str().expect("JSON in a text")).expect("JSON")
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn board_filter(dashboard: &Value) -> String {
    owned(&embedded(&dashboard["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"])
}

fn filters(list: &Value) -> Part {
    let pair = |filter: &Value| (owned(&filter["label"]), owned(&filter["input"]["query"]));
    Part::Filters(list.as_array().expect("filters").iter().map(pair).collect())
}

/// What the Lens panel of a shipped dashboard asks.
pub fn shipped(dashboard: &Value, panel: &Value) -> Question {
    let state = &panel["embeddableConfig"]["attributes"]["state"];
    let layers = state["datasourceStates"]["formBased"]["layers"].as_object().expect("layers");
    let layer = layers.values().next().expect("a layer");
    let columns = &layer["columns"];
    let order: Vec<&str> =
        layer["columnOrder"].as_array().expect("an order").iter().filter_map(Value::as_str).collect();
    let inner: Vec<&str> = order
        .iter()
        .filter_map(|id| columns[id]["references"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut question = Question {
        filters: vec![board_filter(dashboard), owned(&state["query"]["query"])],
        parts: Vec::new(),
        numbers: Vec::new(),
    };
    for id in order.iter().filter(|id| !inner.contains(id)) {
        let column = &columns[id];
        if column["isBucketed"] == true {
            question.parts.push(lens_part(column));
        } else {
            question.numbers.push(lens_number(columns, column));
        }
    }
    question
}

fn lens_part(column: &Value) -> Part {
    let params = &column["params"];
    match column["operationType"].as_str() {
        Some("date_histogram") => Part::Time,
        Some("filters") => filters(&params["filters"]),
        Some("terms") if params["orderBy"]["type"] == "rare" => Part::Rare {
            field: owned(&column["sourceField"]),
            at_most: params["orderBy"]["maxDocCount"].as_u64().expect("a limit"),
        },
        Some("terms") => {
            assert_eq!(params["orderBy"]["columnId"], "show0", "the order is by the first number");
            assert_eq!((&params["otherBucket"], &params["missingBucket"]), (&false.into(), &false.into()));
            Part::Top {
                field: owned(&column["sourceField"]),
                size: params["size"].as_u64().expect("a size"),
                ascending: params["orderDirection"] == "asc",
                include: params["include"][0].as_str().filter(|_| params["includeIsRegex"] == true).map(str::to_owned),
            }
        }
        other => panic!("{other:?} is no bucket that we can compute"),
    }
}

fn lens_number(columns: &Value, column: &Value) -> Number {
    let how = match column["operationType"].as_str() {
        Some("count") => How::Count,
        Some("sum") => How::Sum,
        Some("unique_count") => How::Unique,
        Some("max") => How::Max,
        Some("min") => How::Min,
        Some("average") => How::Average,
        Some("percentile") => {
            assert_eq!(column["params"]["percentile"], 95);
            How::P95
        }
        Some("formula") => return lens_share(columns, column),
        other => panic!("{other:?} is no number that we can compute"),
    };
    let field = column["sourceField"].as_str().filter(|name| *name != "___records___").map(str::to_owned);
    let before = column["timeShift"].as_str().map(str::to_owned);
    Number { how, field, before, per_second: column["timeScale"] == "s" }
}

/// A formula by its parts, which is what Lens computes.
fn lens_share(columns: &Value, column: &Value) -> Number {
    let math = &columns[column["references"][0].as_str().expect("a reference")];
    let ast = &math["params"]["tinymathAst"];
    assert_eq!(ast["name"], "divide");
    let arg = |index: usize| &columns[ast["args"][index].as_str().expect("an argument")];
    let (part, whole) = (arg(0), arg(1));
    assert_eq!((&part["operationType"], &whole["operationType"]), (&"sum".into(), &"sum".into()));
    assert_eq!(part["sourceField"], whole["sourceField"]);
    assert!(whole["filter"].is_null(), "the whole is not filtered");
    let of = owned(&part["filter"]["query"]);
    let field = owned(&part["sourceField"]);
    assert_eq!(
        column["params"]["formula"],
        format!("sum({field}, kql='{of}') / sum({field})"),
        "text and parts differ"
    );
    Number { how: How::Share(of), field: Some(field), before: None, per_second: false }
}

/// What a shipped visualization of OpenSearch Dashboards asks on a board.
pub fn shipped_for_opensearch(dashboard: &Value, vis: &Value) -> Question {
    let state = embedded(&vis["attributes"]["visState"]);
    let source = embedded(&vis["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"]);
    let mut question = Question {
        filters: vec![board_filter(dashboard), owned(&source["query"]["query"])],
        parts: Vec::new(),
        numbers: Vec::new(),
    };
    for agg in state["aggs"].as_array().expect("aggs") {
        let params = &agg["params"];
        let field = params["field"].as_str().map(str::to_owned);
        if agg["schema"] == "metric" {
            let how = match agg["type"].as_str() {
                Some("count") => How::Count,
                Some("sum") => How::Sum,
                Some("cardinality") => How::Unique,
                Some("max") => How::Max,
                Some("min") => How::Min,
                Some("avg") => How::Average,
                Some("percentiles") => How::P95,
                other => panic!("{other:?} is no number that we can compute"),
            };
            question.numbers.push(Number { how, field, before: None, per_second: false });
            continue;
        }
        question.parts.push(match agg["type"].as_str() {
            Some("date_histogram") => Part::Time,
            Some("filters") => filters(&params["filters"]),
            Some("terms") => {
                assert_eq!(params["orderBy"], "1", "the order is by the first number");
                Part::Top {
                    field: field.expect("a field"),
                    size: params["size"].as_u64().expect("a size"),
                    ascending: params["order"] == "asc",
                    include: params["include"].as_str().map(str::to_owned),
                }
            }
            other => panic!("{other:?} is no bucket that we can compute"),
        });
    }
    question
}
