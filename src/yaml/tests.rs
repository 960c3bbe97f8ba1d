//! Texts and what is said of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
struct Config {
    name: String,
    #[serde(default)]
    level: Level,
    port: Option<u16>,
    #[serde(default)]
    peers: Vec<Peer>,
    auth: Option<Auth>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    store: Option<Store>,
    hosts: Option<OneOrMany>,
    #[schemars(extend("format" = "duration"))]
    wait: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[default]
    Info,
    Debug,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-renamed" = {"address": "url"}))]
struct Peer {
    url: String,
    #[serde(default)]
    fast: bool,
    #[serde(default)]
    #[schemars(range(min = 1, max = 9))]
    level: i32,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Auth {
    /// Notes make schemars write a branch for each.
    None,
    ApiKey(Secret),
    Basic {
        username: String,
        password: Secret,
    },
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Secret {
    File(String),
    Env(String),
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Store {
    Memory { size: u32 },
    Disk { path: String },
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn format(format: &str, text: &str) -> Result<(), String> {
    match format {
        "duration" if text.parse::<u32>().is_ok() => Err(format!("{text:?} has no unit; write \"{text}s\"")),
        _ => Ok(()),
    }
}

fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

fn check(text: &str, expected: &[&str]) {
    let found: Vec<String> = match Document::parse(text) {
        Err(problem) => vec![problem.to_string()],
        Ok(document) => {
            let found = document.check_schema_with(&schema(), &format);
            let deserialised = document.to::<Config>();
            // What the schema lets through must deserialise; the parser itself is more lenient ("80" for 80).
            assert!(!found.is_empty() || deserialised.is_ok(), "{text}\n{deserialised:?}\n{:#}", schema());
            let by_json: Option<Config> = serde_json::from_value(document.root().to_json()).ok();
            assert_eq!(deserialised.ok(), by_json, "{text}");
            found.iter().map(ToString::to_string).collect()
        }
    };
    assert_eq!(found, expected, "{text}\n{:#}", schema());
}

#[test]
fn good_texts_have_no_problems() {
    check("name: a\n", &[]);
    check(
        "name: &n a\nlevel: debug\nport: 65535\npeers:\n- {url: x, fast: true, level: 9}\n- url: *n\nlabels: {a.b/c: x}\n\
         auth: {basic: {username: u, password: {file: /x}}}\nstore: {kind: disk, path: /x}\nhosts: [a, b]\nwait: 5s\n",
        &[],
    );
    check("name: on\nport: ~\nauth: none\nhosts: a\nstore: null\n", &[]);
    check("name: a\nauth: {api_key: {env: X}}\n", &[]);
}

#[test]
fn every_problem_is_told_with_place_and_remedy() {
    check(
        "nam: a\nlevel: debgu\nport: 70000\npeers:\n- url: 5\n  fats: true\n  level: 0\n- address: x\nlabels: [x]\n",
        &[
            "1:1: nam: unknown key; did you mean \"name\"?",
            "1:1: \"name\" is missing; add it",
            "2:8: level: \"debgu\" is not known here; did you mean \"debug\"? (known: info, debug)",
            "3:7: port: 70000 is too large; the most is 65535",
            "5:8: peers[0].url: expected text, found a whole number (5); put it in quotes: \"5\"",
            "6:3: peers[0].fats: unknown key; did you mean \"fast\"?",
            "7:10: peers[0].level: 0 is too small; the least is 1",
            "8:3: peers[1].address: this key is now called \"url\"; rename it",
            "8:3: peers[1]: \"url\" is missing; add it",
            "9:9: labels: expected a mapping, found a list; write \"key: value\" lines without \"- \"",
        ],
    );
    check("name: a\nwait: '5'\n", &["2:7: wait: \"5\" has no unit; write \"5s\""]);
}

#[test]
fn wrong_types_show_both() {
    check("name: [a]\n", &["1:7: name: expected text, found a list"]);
    check(
        "name: a\nport: '80'\n",
        &["2:7: port: expected a whole number, found the text \"80\"; write 80 without quotes"],
    );
    check("name: a\npeers: x\n", &["2:8: peers: expected a list, found the text \"x\"; write [\"x\"]"]);
    check("name: a\npeers: {url: x}\n", &["2:8: peers: expected a list, found a mapping; begin each item with \"- \""]);
    check(
        "name: a\npeers:\n- url: x\n  fast: yes\n",
        &["4:9: peers[0].fast: expected true or false, found the text \"yes\"; write true"],
    );
    check("name:\n", &["1:5: name: expected text, found nothing; write it, or remove the key"]);
    check(
        "name: a\nlabels: {a.b: 1}\n",
        &["2:15: labels[\"a.b\"]: expected text, found a whole number (1); put it in quotes: \"1\""],
    );
    check("", &["1:1: the text is empty"]);
    check("- a\n", &["1:1: expected a mapping, found a list; write \"key: value\" lines without \"- \""]);
}

#[test]
fn enums_say_which_variant_was_meant() {
    check("name: a\nauth: nine\n", &["2:7: auth: \"nine\" is not known here; did you mean \"none\"?"]);
    check(
        "name: a\nauth: {api_kay: {env: X}}\n",
        &["2:8: auth.api_kay: \"api_kay\" is not known here; did you mean \"api_key\"? (known: api_key, basic)"],
    );
    check("name: a\nauth: {basic: {username: u}}\n", &["2:15: auth.basic: \"password\" is missing; add it"]);
    check(
        "name: a\nauth: {api_key: {fil: X}}\n",
        &["2:18: auth.api_key.fil: \"fil\" is not known here; did you mean \"file\"? (known: file, env)"],
    );
    check("name: a\nauth: {api_key: X}\n", &["2:17: auth.api_key: expected a mapping, found text"]);
    check(
        "name: a\nstore: {kind: dsik, path: x}\n",
        &["2:15: store.kind: \"dsik\" is not known here; did you mean \"disk\"? (known: memory, disk)"],
    );
    check("name: a\nstore: {path: x}\n", &["2:8: store: \"kind\" is missing; one of memory, disk"]);
    check("name: a\nstore: {kind: disk}\n", &["2:8: store: \"path\" is missing; add it"]);
    check("name: a\nhosts: 5\n", &["2:8: hosts: expected text or a list, found a whole number"]);
    check(
        "name: a\nhosts: [5]\n",
        &["2:9: hosts[0]: expected text, found a whole number (5); put it in quotes: \"5\""],
    );
}

#[test]
fn unreadable_texts_say_where_and_why() {
    check("name: a\nname: b\n", &["2:1: the key \"name\" stands twice in this mapping; keep one"]);
    check("peers:\n\t- x\n", &["2:1: a tab stands in the indentation; YAML wants spaces"]);
    check("peers:\n- url: a\n\tfast: true\n", &["3:1: a tab stands in the indentation; YAML wants spaces"]);
    check("name: a\n---\nname: b\n", &["3:1: a second document begins here; a file holds one, so remove \"---\""]);
    check("name: *x\n", &["1:7: this alias (*name) names no anchor (&name) above it"]);
    check(
        "name: a: b\n",
        &[
            "1:8: a second \": \" on this line, or wrong indentation; put the value in quotes if the colon belongs to it",
        ],
    );
    check("name: 'a\n", &["1:7: unclosed quote"]);
    check("? [a]\n: b\n", &["1:3: a key must be plain text; quote it if it begins with [ { * or &"]);
    // Ten levels of ten aliases each would be ten thousand million nodes.
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..10 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(","));
    }
    assert!(Document::parse(&bomb).is_err());
    assert!(Document::parse(&"[".repeat(200)).is_err());
    assert!(Document::parse(&"[".repeat(100_000)).is_err());
    let deep: String = (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth % 200 + depth / 200))).collect();
    assert!(Document::parse(&deep).is_err());
    let deep: String = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let problem = Document::parse(&deep).unwrap_err().to_string();
    assert_eq!(problem, "25:25: more than 24 lists and mappings in each other; write it flatter");
    assert!(Document::parse(&"a: b\n".repeat(MAX_TEXT_BYTES)).is_err());
}

#[test]
fn places_by_path() {
    let document = Document::parse("a:\n- b: 'x y'\n  \"c.d\": \"ä y\"\n  e: \"\\t y\"\n").unwrap();
    for (path, expected) in
        [("", "1:1"), ("a[0].b", "2:6"), ("a[0][\"c.d\"]", "3:10"), ("a[0].nothing.there", "2:3"), ("a[7]", "2:3")]
    {
        assert_eq!(document.place(path).unwrap().to_string(), expected, "{path}");
    }
    assert_eq!(document.key_place("a[0].b").unwrap().to_string(), "2:3");
    assert_eq!(document.node("a[0].b").and_then(Node::as_text), Some("x y"));
    assert_eq!(document.node("a[0].nothing"), None);
    assert_eq!(document.place_in("a[0].b", 2).unwrap().to_string(), "2:9");
    assert_eq!(document.place_in("a[0][\"c.d\"]", 3).unwrap().to_string(), "3:13", "columns are characters");
    assert_eq!(document.place_in("a[0].e", 2).unwrap().to_string(), "4:6", "escaped: the beginning");
}

#[test]
fn a_type_of_its_own_opinion_is_heard() {
    let document = Document::parse("- 10.0.0.1\n- 10.0.0.256\n").unwrap();
    let problem = document.to::<Vec<std::net::IpAddr>>().unwrap_err();
    assert!(problem.to_string().contains("invalid IP address"), "{problem}");
}

#[test]
fn places_inside_texts_of_several_lines() {
    let text = "plain: abc\n  de fg\nfolded: >-\n  abc\n  de\n  fg\nliteral: |\n    abc\n    de fg\nsingle: 'a''b\n  de'\n\
                double: \"a\\\"b de\"\nanchor: &x abc de\nalias: *x\n";
    let document = Document::parse(text).unwrap();
    let check = |path: &str, part: &str, expected: &str| {
        let value = document.node(path).and_then(Node::as_text).unwrap();
        let offset = value.find(part).unwrap();
        assert_eq!(document.place_in(path, offset).unwrap().to_string(), expected, "{path} {part}");
    };
    check("plain", "bc", "1:9");
    check("plain", "de", "2:3");
    check("plain", "g", "2:7");
    check("folded", "bc", "4:4");
    check("folded", "fg", "6:3");
    check("literal", "abc", "8:5");
    check("literal", "g", "9:9");
    check("single", "b", "10:13");
    check("single", "e", "11:4");
    check("double", "de", "12:15");
    // Where it is used stands no text to point into.
    check("alias", "de", "14:8");
    assert_eq!(document.place_in("folded", 9).unwrap().to_string(), "6:5", "the end");
}
