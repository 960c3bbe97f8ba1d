//! What `deploy/siem/` holds for SIEM products: every field, property and class that a search, rule, parser or mapping names is
//! one that our records have. None of the products runs here; the README there says what is run and what is read only.
//!
//! Each language is read by words: what is neither a word of the language that we use, nor a name that the file itself
//! defines, must be a field. So a slip of the pen in either is found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::boards::kql;
use crate::support::root;

pub type Names = BTreeSet<String>;

fn names<'a>(of: impl IntoIterator<Item = &'a str>) -> Names {
    of.into_iter().map(str::to_owned).collect()
}

pub fn read(file: &str) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml<T: for<'a> Deserialize<'a>>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What our records have, by the tables of `mappings/`.
pub struct Known {
    /// Keys of CEF and of its labels, and the names of the head's fields.
    pub cef: Names,
    /// The dictionary's full names by key.
    pub dictionary: BTreeMap<String, String>,
    pub leef: Names,
    pub ecs: Names,
    /// Columns of CommonSecurityLog by key, and ECS fields of Elastic's integration by key.
    pub sentinel: BTreeMap<String, String>,
    pub elastic: BTreeMap<String, String>,
    /// Types of the columns that hold no text.
    pub column_types: BTreeMap<String, String>,
    pub classes: Names,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<KeyRow>,
}

#[derive(Deserialize)]
struct KeyRow {
    key: String,
    name: Option<String>,
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Products {
    head: Vec<Product>,
    keys: Vec<Product>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    key: String,
    sentinel: Option<String>,
    /// Of the column; a text where there is none.
    #[serde(rename = "type")]
    kind: Option<String>,
    elastic: Option<String>,
}

#[derive(Deserialize)]
struct Classes {
    classes: Vec<Class>,
}

#[derive(Deserialize)]
struct Class {
    id: String,
}

/// Classes of records that are no flow's: what Tidegate says of itself, and test records.
const OWN_CLASSES: [&str; 6] =
    ["tidegate:heartbeat", "tidegate:start", "tidegate:stop", "tidegate:outage", "tidegate:suppressed", "test"];

pub fn known() -> Known {
    let cef: Keys = yaml(&read("mappings/cef/record.yaml"));
    let leef: Keys = yaml(&read("mappings/leef/record.yaml"));
    let products: Products = yaml(&read("mappings/cef/products.yaml"));
    let classes: Classes = yaml(&read("mappings/record/fields.yaml"));
    let mut keys: Names = cef.keys.iter().map(|row| row.key.clone()).collect();
    for row in &products.keys {
        assert!(keys.contains(&row.key), "products.yaml names {}, which mappings/cef/record.yaml does not", row.key);
    }
    keys.extend(cef.keys.iter().filter(|row| row.label.is_some()).map(|row| format!("{}Label", row.key)));
    keys.extend(products.head.iter().map(|row| row.key.clone()));
    let rows = || products.head.iter().chain(&products.keys);
    let by_key = |of: fn(&Product) -> &Option<String>| {
        rows().filter_map(|row| Some((row.key.clone(), of(row).clone()?))).collect::<BTreeMap<_, _>>()
    };
    Known {
        sentinel: by_key(|row| &row.sentinel),
        elastic: by_key(|row| &row.elastic),
        column_types: rows().filter_map(|row| Some((row.sentinel.clone()?, row.kind.clone()?))).collect(),
        cef: keys,
        dictionary: cef.keys.into_iter().filter_map(|row| Some((row.key, row.name?))).collect(),
        leef: leef.keys.into_iter().map(|row| row.key).collect(),
        ecs: read("mappings/ecs/fields.tsv")
            .lines()
            .skip(1)
            .filter_map(|l| l.split('\t').next())
            .map(str::to_owned)
            .collect(),
        classes: classes.classes.into_iter().map(|class| class.id).chain(OWN_CLASSES.map(str::to_owned)).collect(),
    }
}

impl Known {
    /// What Elastic's integration makes of a record: `cef.extensions.<full name>`, and ECS fields.
    fn in_elastic(&self) -> Names {
        let extensions = self.dictionary.values().map(|name| format!("cef.extensions.{name}"));
        extensions.chain(self.elastic.values().cloned()).chain(["event.ingested".to_owned()]).collect()
    }

    pub fn in_sentinel(&self) -> Names {
        // FieldDeviceCustomNumber1 takes the place of DeviceCustomNumber1, and has its label.
        let older = self.sentinel.values().map(|name| name.strip_prefix("Field").unwrap_or(name));
        let custom: Vec<&str> = older.filter(|name| name.starts_with("DeviceCustom")).collect();
        let labels = custom.iter().map(|name| format!("{name}Label"));
        let always = ["TimeGenerated", "AdditionalExtensions"].into_iter().chain(custom.iter().copied());
        self.sentinel.values().cloned().chain(labels).chain(always.map(str::to_owned)).collect()
    }
}

/// The words of a text outside of its strings and comments, in their order, each with what follows it.
fn words<'t>(text: &'t str, comment: Option<&str>, quotes: &[char]) -> Vec<(&'t str, &'t str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if comment.is_some_and(|comment| rest.starts_with(comment)) {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if quotes.contains(&c) {
            let after = &rest[c.len_utf8()..];
            let end = after.find(c).unwrap_or_else(|| panic!("an open {c} in {text}"));
            rest = &after[end + c.len_utf8()..];
        } else if c.is_ascii_alphanumeric() || matches!(c, '_' | '@') {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '*')))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if !c.is_ascii_digit() && word != "@" {
                found.push((word, after));
            }
            rest = after;
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// The word stands before a single `=`: something is given this name.
fn is_defined(after: &str) -> bool {
    let after = after.trim_start();
    after.starts_with('=') && !after.starts_with("==") && !after.starts_with("=~")
}

fn left_over(words: &[(&str, &str)], known: &[&Names]) -> Names {
    let is_known = |word: &str| known.iter().any(|known| known.contains(word));
    words.iter().map(|(word, _)| *word).filter(|word| !is_known(word)).map(str::to_owned).collect()
}

// Splunk.

pub type Stanzas = BTreeMap<String, Vec<(String, String)>>;

/// A .conf file. A line that ends in `\` goes on.
pub fn stanzas(text: &str) -> Stanzas {
    let mut found = Stanzas::new();
    let mut stanza = String::new();
    for line in text.replace("\\\n", "\n\u{0}").split('\n').fold(Vec::<String>::new(), |mut lines, line| {
        match (line.strip_prefix('\u{0}'), lines.last_mut()) {
            (Some(more), Some(last)) => *last += more,
            _ => lines.push(line.to_owned()),
        }
        lines
    }) {
        if line.is_empty() || line.starts_with('#') {
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            stanza = name.to_owned();
            assert!(found.insert(stanza.clone(), Vec::new()).is_none(), "[{stanza}] stands twice");
        } else {
            let (key, value) = line.split_once(" = ").unwrap_or_else(|| panic!("no `key = value`: {line}"));
            found.get_mut(&stanza).expect("a stanza").push((key.to_owned(), value.to_owned()));
        }
    }
    found
}

const SPLUNK: &str = "deploy/siem/splunk/tidegate/default";
/// What `sink::splunk` has Splunk index beside an event.
const INDEXED: [&str; 5] = ["src_zone", "dest_zone", "action", "signature_id", "cluster"];
const EVAL_WORDS: [&str; 8] = ["replace", "case", "coalesce", "lower", "if", "null", "AS", "ASNEW"];
const SPL_WORDS: [&str; 38] = [
    "AND",
    "AS",
    "BY",
    "NOT",
    "OR",
    "OUTPUT",
    "_time",
    "append",
    "avg",
    "bin",
    "dedup",
    "eval",
    "eventstats",
    "eventtype",
    "fields",
    "fillnull",
    "if",
    "isnull",
    "latest",
    "lookup",
    "min",
    "now",
    "null",
    "outputlookup",
    "relative_time",
    "search",
    "sourcetype",
    "span",
    "stats",
    "stdev",
    "sum",
    "true",
    "value",
    "values",
    "where",
    "index",
    "netfw",
    "host",
];

/// The fields that props.conf gives a source type, and the names in it that are none.
fn splunk_fields(props: &Stanzas, source_type: &str, raw: &Names) -> (Names, Names) {
    let (mut fields, mut unknown) = (raw.clone(), Names::new());
    let eval = names(EVAL_WORDS);
    for (key, value) in &props[source_type] {
        if let Some(name) = key.strip_prefix("EVAL-") {
            // 'A name' in single quotes is a field, too.
            unknown.extend(left_over(&words(&value.replace('\'', " "), None, &['"']), &[&eval, raw]));
            fields.insert(name.to_owned());
        } else if key.starts_with("FIELDALIAS-") {
            let parts: Vec<&str> = value.split(' ').collect();
            for alias in parts.chunks(3) {
                let [from, "AS", to] = alias else { panic!("{value}") };
                unknown.extend(Some((*from).to_owned()).filter(|name| !raw.contains(name)));
                fields.insert((*to).to_owned());
            }
        }
    }
    (fields, unknown)
}

/// Fields of the head by transforms.conf: `vendor::$1 …`
fn in_head(transforms: &Stanzas) -> Names {
    let format = transforms["tidegate_cef_head"].iter().find(|(key, _)| key == "FORMAT").expect("a FORMAT");
    format.1.split(' ').filter_map(|pair| pair.split_once("::")).map(|(name, _)| name.to_owned()).collect()
}

fn unknown_to_splunk(props: &str, searches: &str, known: &Known) -> Names {
    let (props, transforms) = (stanzas(props), stanzas(&read(&format!("{SPLUNK}/transforms.conf"))));
    let macros = stanzas(&read(&format!("{SPLUNK}/macros.conf")));
    let cef: Names = known.cef.union(&in_head(&transforms)).cloned().collect();
    let json: Names =
        known.ecs.iter().cloned().chain(INDEXED.map(str::to_owned)).chain(["event.code".to_owned()]).collect();
    let (cef, mut unknown) = splunk_fields(&props, "calico:flow:cef", &cef);
    let (json, other) = splunk_fields(&props, "calico:flow", &json);
    unknown.extend(other);
    // A search looks at both source types: it may name what both have.
    let both: Names = cef.intersection(&json).cloned().collect();
    let (spl, lookups): (Names, Names) = (names(SPL_WORDS), transforms.keys().cloned().collect());
    for (name, stanza) in stanzas(searches) {
        let value = |key: &str| stanza.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
        let search = value("search").unwrap_or_else(|| panic!("[{name}] has no search"));
        for part in search.split('`').skip(1).step_by(2) {
            unknown.extend(Some(format!("`{part}`")).filter(|_| !macros.contains_key(part)));
        }
        let found = words(search, None, &['"', '`']);
        let mut own = Names::new();
        for (at, (word, after)) in found.iter().enumerate() {
            if at > 0 && found[at - 1].0 == "AS" || is_defined(after) && !SPL_WORDS.contains(word) {
                own.insert((*word).to_owned());
            }
        }
        // `field="value"` in a search defines nothing.
        let asked = found.iter().filter(|(_, after)| after.starts_with("=\"")).copied().collect::<Vec<_>>();
        unknown.extend(left_over(&asked, &[&both, &spl]));
        unknown.extend(left_over(&found, &[&both, &own, &spl, &lookups]));
        let suppressed = value("alert.suppress.fields").unwrap_or_default();
        unknown.extend(suppressed.split(',').filter(|f| !f.is_empty() && !both.contains(*f)).map(str::to_owned));
    }
    unknown
}

// Microsoft Sentinel.

const KUSTO_WORDS: [&str; 48] = [
    "CommonSecurityLog",
    "ago",
    "and",
    "arg_max",
    "arg_min",
    "bin",
    "by",
    "coalesce",
    "extend",
    "extract",
    "gt",
    "iff",
    "in",
    "isempty",
    "join",
    "kind",
    "leftouter",
    "let",
    "long",
    "make_set",
    "max",
    "min",
    "new_guid",
    "not",
    "now",
    "null",
    "on",
    "or",
    "project",
    "project-reorder",
    "reorder",
    "sum",
    "summarize",
    "tostring",
    "where",
    "Tidegate",
    "count",
    "dcount",
    "has",
    "contains",
    "tolong",
    "isnotempty",
    "datetime",
    "timespan",
    "int",
    "bool",
    "order",
    "asc",
];

fn kusto(query: &str, columns: &Names) -> (Names, Names) {
    let text = query.replace("@\"", "\"");
    let found = words(&text, Some("//"), &['"', '\'']);
    let own: Names = found.iter().filter(|(_, after)| is_defined(after)).map(|(word, _)| (*word).to_owned()).collect();
    let unknown = left_over(&found, &[columns, &own, &names(KUSTO_WORDS)]);
    (own, unknown)
}

pub fn kusto_parser() -> String {
    let parser: Value = yaml(&read("deploy/siem/sentinel/Tidegate.yaml"));
    parser["FunctionQuery"].as_str().expect("a query").to_owned()
}

/// What the parser gives, and what it names that is no column.
fn sentinel_parser(query: &str, known: &Known) -> (Names, Names) {
    kusto(query, &known.in_sentinel())
}

fn unknown_to_sentinel(rule: &Value, given: &Names) -> Names {
    let query = rule["query"].as_str().expect("a query");
    let columns: Names = given.iter().cloned().chain(["TimeGenerated".to_owned()]).collect();
    let (own, mut unknown) = kusto(query, &columns);
    for mapping in rule["entityMappings"].as_array().expect("entities") {
        for field in mapping["fieldMappings"].as_array().expect("fields") {
            let column = field["columnName"].as_str().expect("a column");
            unknown.extend(Some(column.to_owned()).filter(|name| !own.contains(name) && !columns.contains(name)));
        }
    }
    unknown
}

// QRadar.

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub leef: Option<String>,
    pub regex: String,
    pub group: usize,
    #[serde(rename = "rules")]
    _rules: bool,
    #[serde(rename = "description")]
    _description: String,
}

pub fn properties() -> Vec<Property> {
    serde_json::from_str(&read("deploy/siem/qradar/custom-properties.json")).expect("properties")
}

const AQL_WORDS: [&str; 32] = [
    "SELECT",
    "FROM",
    "WHERE",
    "AND",
    "NOT",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "DESC",
    "LAST",
    "MINUTES",
    "HOURS",
    "AS",
    "SUM",
    "MAX",
    "MIN",
    "UNIQUECOUNT",
    "CONCAT",
    "NOW",
    "DATEFORMAT",
    "REFERENCESETCONTAINS",
    "LOGSOURCETYPENAME",
    "events",
    "devicetype",
    "devicetime",
    "denied",
    "workloads",
    "pair",
    "first_seen",
    "flows",
    "last_seen",
];

fn unknown_to_qradar(query: &str, properties: &[Property]) -> Names {
    let quoted = query.split('"').skip(1).step_by(2);
    let is_property = |name: &&str| properties.iter().any(|property| property.name == *name);
    let mut unknown: Names = quoted.filter(|name| !is_property(name)).map(str::to_owned).collect();
    unknown.extend(left_over(&words(query, None, &['"', '\'']), &[&names(AQL_WORDS), &names(["last_time"])]));
    unknown
}

// Elastic.

/// The leaves of `properties`, dotted.
fn leaves(mapping: &Value, before: &str, into: &mut Names) {
    for (name, field) in mapping["properties"].as_object().expect("properties") {
        let name = format!("{before}{name}");
        match field.get("properties") {
            Some(_) => leaves(field, &format!("{name}."), into),
            None => drop(into.insert(name)),
        }
    }
}

/// What the pipeline adds has its type in the component template, as in our own documents.
fn added_in_elastic(known: &Known) -> Names {
    let template: Value = serde_json::from_str(&read("deploy/siem/elastic/component-template.json")).expect("JSON");
    let mut added = Names::new();
    leaves(&template["template"]["mappings"], "", &mut added);
    let strange: Vec<_> = added.difference(&known.ecs).collect();
    assert!(strange.is_empty(), "no fields of ours: {strange:?}");
    added.extend(["event.type", "event.kind", "event.category", "event.id"].map(str::to_owned));
    added
}

const ESQL_WORDS: [&str; 11] =
    ["FROM", "WHERE", "STATS", "MAX", "BY", "NOW", "KEEP", "last", "minutes", "logs", "cef.log"];

fn unknown_to_elastic(rule: &Value, known: &Known) -> Names {
    let all: Names = known.in_elastic().union(&added_in_elastic(known)).cloned().collect();
    let query = rule["query"].as_str().expect("a query");
    if rule["type"] == "esql" {
        let found = words(query, None, &['"']);
        return left_over(&found, &[&all, &names(ESQL_WORDS), &names(["logs", "cef.log", "cef.log-*", "*"])]);
    }
    let kql = kql::parse(query).unwrap_or_else(|error| panic!("{error}"));
    let mut asked: Names = kql.fields().into_iter().map(|(field, _)| field.to_owned()).collect();
    for list in [&rule["threshold"]["field"], &rule["new_terms_fields"]] {
        asked.extend(list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    asked.difference(&all).cloned().collect()
}

pub fn elastic_rules() -> Vec<Value> {
    read("deploy/siem/elastic/detection-rules.ndjson").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
}

/// The pipeline's `cef.<name>`s.
fn unknown_to_pipeline(script: &str, known: &Known) -> Names {
    let full = |name: &&str| known.dictionary.values().any(|full| full == name);
    let named = words(script, None, &['\'']).into_iter().filter_map(|(word, _)| word.strip_prefix("cef."));
    named.filter(|name| !full(name)).map(str::to_owned).collect()
}

pub fn pipeline() -> Value {
    serde_json::from_str(&read("deploy/siem/elastic/logs-cef.log@custom.json")).expect("JSON")
}

// Sigma.

fn unknown_to_sigma(rule: &Value, known: &Known) -> Names {
    let mut asked = Names::new();
    for (name, part) in rule["detection"].as_object().into_iter().flatten() {
        if name != "condition" {
            let keys = part.as_object().expect("a map of fields").keys();
            asked.extend(keys.map(|key| key.split('|').next().unwrap_or_default().to_owned()));
        }
    }
    for list in [&rule["fields"], &rule["correlation"]["group-by"]] {
        asked.extend(list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    asked.difference(&known.cef).cloned().collect()
}

/// A pipeline turns keys of CEF into names of a product.
fn unknown_to_sigma_pipeline(pipeline: &Value, known: &Known, product: &Names) -> Names {
    let mut unknown = Names::new();
    for step in pipeline["transformations"].as_array().expect("steps") {
        for (from, to) in step["mapping"].as_object().into_iter().flatten() {
            unknown.extend(Some(from.clone()).filter(|name| !known.cef.contains(name)));
            unknown.extend(to.as_str().map(str::to_owned).filter(|name| !product.contains(name)));
        }
        for field in step["conditions"].as_object().into_iter().flat_map(|fields| fields.keys()) {
            unknown.extend(Some(field.clone()).filter(|name| !product.contains(name) && name != "sourcetype"));
        }
    }
    unknown
}

// All of it.

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

/// Names in a file of `deploy/siem/` that stand for nothing our records have.
///
/// # Panics
/// At a file of no known kind: nothing there goes unread.
fn unknown(file: &str, known: &Known) -> Names {
    let text = || read(&format!("deploy/siem/{file}"));
    let (folder, name) = file.split_once('/').unwrap_or(("", file));
    match (folder, name.rsplit_once('.').unwrap_or_default().1) {
        ("splunk", "conf") if name.ends_with("savedsearches.conf") || name.ends_with("eventtypes.conf") => {
            unknown_to_splunk(&read(&format!("{SPLUNK}/props.conf")), &text(), known)
        }
        ("splunk", "conf") if name.ends_with("props.conf") => unknown_to_splunk(&text(), "", known),
        // Their patterns are run in `patterns`; the rest names no field.
        ("splunk", "conf" | "meta") => {
            drop(stanzas(&text()));
            Names::new()
        }
        ("splunk", "csv") => unknown_to_splunk_table(name, &text()),
        ("sentinel", "yaml") if name == "Tidegate.yaml" => sentinel_parser(&kusto_parser(), known).1,
        ("sentinel", "yaml") => unknown_to_sentinel(&yaml(&text()), &sentinel_parser(&kusto_parser(), known).0),
        ("qradar", "json") => {
            let keys = properties().into_iter().filter_map(|property| property.leef);
            keys.filter(|key| !known.leef.contains(key)).collect()
        }
        ("qradar", "aql") => unknown_to_qradar(&text(), &properties()),
        ("elastic", "ndjson") => elastic_rules().iter().flat_map(|rule| unknown_to_elastic(rule, known)).collect(),
        ("elastic", "json") if name.starts_with("component") => {
            drop(added_in_elastic(known));
            Names::new()
        }
        ("elastic", "json") => {
            unknown_to_pipeline(pipeline()["processors"][0]["script"]["source"].as_str().expect("a script"), known)
        }
        ("sigma", "yml") if name.starts_with("pipelines/") => {
            let props = stanzas(&read(&format!("{SPLUNK}/props.conf")));
            let transforms = stanzas(&read(&format!("{SPLUNK}/transforms.conf")));
            let product = match name {
                "pipelines/splunk.yml" => {
                    let raw = known.cef.union(&in_head(&transforms)).cloned().collect();
                    splunk_fields(&props, "calico:flow:cef", &raw).0
                }
                "pipelines/sentinel.yml" => known.in_sentinel(),
                _ => known.in_elastic(),
            };
            unknown_to_sigma_pipeline(&yaml(&text()), known, &product)
        }
        // What sigma-cli made of the rules: `sigma` holds them to that.
        ("sigma", "spl" | "esql" | "lucene" | "kql") => Names::new(),
        ("sigma", "yml") => {
            let text = text();
            text.split("\n---\n").flat_map(|rule| unknown_to_sigma(&yaml(rule), known)).collect()
        }
        // They name no field, and are started in `relays`.
        ("rsyslog" | "syslog-ng", "conf") | ("", "md") => Names::new(),
        _ => panic!("deploy/siem/{file} is of no kind that is read here"),
    }
}

/// Names of the lookup, and the products that SC4S knows us by.
fn unknown_to_splunk_table(name: &str, text: &str) -> Names {
    if name.starts_with("tidegate/lookups/") {
        let searches = read(&format!("{SPLUNK}/savedsearches.conf"));
        let columns = text.trim_end().split(',');
        return columns.filter(|column| !searches.contains(&format!(" {column} "))).map(str::to_owned).collect();
    }
    let keys = text.lines().filter_map(|line| line.split(',').next());
    keys.filter(|key| *key != "Tidegate_Tidegate").map(str::to_owned).collect()
}

/// Classes that a text names: `flow:…` and `tidegate:…`; `*` stands for any.
fn unknown_classes(text: &str, known: &Known) -> Names {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-' | '*');
    let found = text.split(|c: char| !is_part(c)).map(|word| word.trim_end_matches([':', '-']));
    let found = found.filter(|word| word.starts_with("flow:") || word.starts_with("tidegate:"));
    found.filter(|word| !known.classes.contains(*word) && !word.ends_with(":*")).map(str::to_owned).collect()
}

#[test]
fn every_name_in_the_content_is_one_our_records_have() {
    let known = known();
    let folder = root().join("deploy/siem");
    let mut all = Vec::new();
    files(&folder, &mut all);
    assert!(all.len() >= 25, "{all:?}");
    for path in all {
        let file = path.strip_prefix(&folder).expect("below it").to_str().expect("a plain path");
        let mut unknown = unknown(file, &known);
        unknown.extend(unknown_classes(&read(&format!("deploy/siem/{file}")), &known));
        assert_eq!(unknown, Names::new(), "deploy/siem/{file}");
    }
}

/// Each reader finds a slip of the pen in the shipped text.
#[test]
fn a_name_that_our_records_do_not_have_is_found() {
    let known = known();
    let slip = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to)
    };
    let (props, searches) = (read(&format!("{SPLUNK}/props.conf")), read(&format!("{SPLUNK}/savedsearches.conf")));
    let splunk = |props: &str, searches: &str| unknown_to_splunk(props, searches, &known);
    assert_eq!(splunk(&slip(&props, "replace(cs4,", "replace(cs7,"), ""), names(["cs7"]));
    assert_eq!(splunk(&slip(&props, "spt AS", "sport AS"), ""), names(["sport"]));
    assert_eq!(
        splunk(&slip(&props, "'observer.ingress.zone'", "'observer.ingres.zone'"), ""),
        names(["observer.ingres.zone"])
    );
    assert_eq!(splunk(&props, &slip(&searches, "action=\"blocked\"", "aktion=\"blocked\"")), names(["aktion"]));
    assert_eq!(splunk(&props, &slip(&searches, "dedup event_id", "dedup event_ids")), names(["event_ids"]));
    assert_eq!(splunk(&props, &slip(&searches, "`tidegate_spike`", "`spike`")), names(["`spike`"]));
    // Only one of the two source types has it.
    assert_eq!(splunk(&props, &slip(&searches, "dedup event_id", "dedup externalId")), names(["externalId"]));

    let parser = kusto_parser();
    let (given, none) = sentinel_parser(&parser, &known);
    assert_eq!(none, Names::new());
    let (_, unknown) = sentinel_parser(&slip(&parser, "= DeviceCustomString4,", "= DeviceCustomString9,"), &known);
    assert_eq!(unknown, names(["DeviceCustomString9"]));
    let rule = |from, to| yaml::<Value>(&slip(&read("deploy/siem/sentinel/SilentNode.yaml"), from, to));
    assert_eq!(unknown_to_sentinel(&rule("by Cluster, Node", "by Cluster, Nodes"), &given), names(["Nodes"]));
    assert_eq!(unknown_to_sentinel(&rule("columnName: Node", "columnName: Host"), &given), names(["Host"]));

    let aql = read("deploy/siem/qradar/denied-spike.aql");
    let unknown = unknown_to_qradar(&slip(&aql, "\"Tidegate Action\"", "\"Tidegate Verdict\""), &properties());
    assert_eq!(unknown, names(["Tidegate Verdict"]));
    assert_eq!(unknown_to_qradar(&slip(&aql, "devicetype", "devicekind"), &properties()), names(["devicekind"]));

    for rule in elastic_rules() {
        let text = slip(&rule.to_string(), "orchestrator.cluster.name", "orchestrator.cluster.nam");
        let rule = serde_json::from_str(&text).expect("JSON");
        assert_eq!(unknown_to_elastic(&rule, &known), names(["orchestrator.cluster.nam"]));
    }
    let script = "cef.deviceCustomString4 != cef.sourceZone";
    assert_eq!(unknown_to_pipeline(script, &known), names(["sourceZone"]));

    let sigma = yaml::<Value>("{detection: {a: {act: deny, zone: x}, condition: a}, fields: [cs9]}");
    assert_eq!(unknown_to_sigma(&sigma, &known), names(["zone", "cs9"]));
    let pipeline = yaml::<Value>("{transformations: [{mapping: {cs4: DeviceCustomString4, zone: SourceZone}}]}");
    let unknown = unknown_to_sigma_pipeline(&pipeline, &known, &known.in_sentinel());
    assert_eq!(unknown, names(["zone", "SourceZone"]));

    assert_eq!(
        unknown_classes("a \"tidegate:heartbeet\" or flow:deny, flow:* (calico:flow:cef)", &known),
        names(["tidegate:heartbeet"])
    );
}
