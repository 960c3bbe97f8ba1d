//! The queries for Microsoft Sentinel, read and bound by Microsoft's own parser of the language against the columns of
//! CommonSecurityLog that we use. It runs no query.

use std::process::Command;

use serde_json::{Value, json};

use super::content::{Known, known, kusto_parser, read};
use crate::support::{self, root};

/// What the parser says of each query; `None` without it.
fn told(queries: &[String]) -> Option<Vec<Vec<String>>> {
    let lines: String = queries.iter().map(|query| format!("{}\n", json!(query))).collect();
    let ran = support::run_command(&mut Command::new(root().join("tests/siem/kusto")), lines);
    if ran.code() == Some(77) {
        support::went_without("Kusto's parser", "tests/siem/get-kusto installs it");
        return None;
    }
    let ran = ran.expect_code(0);
    Some(ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a list")).collect())
}

/// The table as an empty one of the same columns, and our function behind it.
fn with_table(known: &Known, query: &str) -> String {
    let kind = |name: &str| match known.column_types.get(name) {
        Some(kind) => kind.clone(),
        None if name == "TimeGenerated" => "datetime".to_owned(),
        None if name.starts_with("DeviceCustomNumber") && !name.ends_with("Label") => "int".to_owned(),
        None => "string".to_owned(),
    };
    let columns: Vec<String> = known.in_sentinel().iter().map(|name| format!("{name}:{}", kind(name))).collect();
    let parser = kusto_parser();
    format!("let CommonSecurityLog = datatable({})[];\nlet Tidegate = {};\n{query}", columns.join(", "), parser.trim())
}

#[test]
fn every_query_is_one_to_microsofts_parser() {
    let known = known();
    let mut queries = vec!["Tidegate".to_owned()];
    for rule in ["DeniedSpike", "FirstZonePair", "SilentNode"] {
        let rule: Value = serde_saphyr::from_str(&read(&format!("deploy/siem/sentinel/{rule}.yaml"))).expect("YAML");
        queries.push(rule["query"].as_str().expect("a query").to_owned());
    }
    queries.extend(read("deploy/siem/sigma/converted/sentinel.kql").trim().split("\n\n").map(str::to_owned));
    // And the one that the page shows.
    let page = read("deploy/docs/siem/sentinel.md");
    let block = page.split("```kusto\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a query");
    queries.push(block.lines().map(|line| format!("{}\n", line.trim())).collect());
    assert_eq!(queries.len(), 8);
    let whole: Vec<String> = queries.iter().map(|query| with_table(&known, query)).collect();
    let Some(found) = told(&whole) else { return };
    for (query, found) in queries.iter().zip(found) {
        assert_eq!(found, [""; 0], "{query}");
    }
}

#[test]
fn it_finds_what_is_wrong() {
    let known = known();
    let queries =
        ["Tidegate | where SrcZoan == \"a\"", "Tidegate | where Flows ==", "Tidegate | extend x = firstseen(Flows)"];
    let Some(found) = told(&queries.map(|query| with_table(&known, query))) else { return };
    for (query, found) in queries.iter().zip(found) {
        assert!(found.iter().any(|word| word.starts_with("Error")), "{query}: {found:?}");
    }
}
