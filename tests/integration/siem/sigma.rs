//! The Sigma rules: checked by sigma-cli, and converted by it for five products. `deploy/siem/sigma/converted/` holds what came
//! out, for those who have no sigma-cli; `UPDATE_FIXTURES=1` writes it anew.

use std::process::Command;

use crate::support::{self, Ran, root};

/// Backend, our pipeline, the rules it can convert, the file of the outcome. Only two backends know correlations.
const TARGETS: [(&str, &str, &str, &str); 5] = [
    ("splunk", "splunk.yml", "detections", "splunk.spl"),
    ("esql", "elastic.yml", "detections", "elastic.esql"),
    ("lucene", "elastic.yml", "detections/rules", "elastic.lucene"),
    ("opensearch_lucene", "elastic.yml", "detections/rules", "opensearch.lucene"),
    ("kusto", "sentinel.yml", "detections/rules", "sentinel.kql"),
];

fn sigma(args: &[&str]) -> Option<Ran> {
    let mut command = Command::new(root().join("tests/siem/sigma"));
    // A plain report, whatever the width of a terminal.
    command.current_dir(root().join("deploy/siem/sigma")).env("COLUMNS", "120").args(args);
    let ran = support::run_command(&mut command, "");
    if ran.code() == Some(77) {
        support::went_without("sigma-cli", "tests/siem/get-sigma installs it");
        return None;
    }
    Some(ran)
}

#[test]
fn every_rule_is_converted_for_every_product() {
    for (target, pipeline, rules, file) in TARGETS {
        let pipeline = format!("pipelines/{pipeline}");
        let Some(ran) = sigma(&["convert", "-t", target, "-p", &pipeline, rules]) else { return };
        // The order of files is the folder's, and stands for nothing.
        let ran = ran.expect_code(0);
        let mut queries: Vec<&str> =
            ran.stdout.trim().split(if target == "splunk" { "\n\nsourcetype=" } else { "\n\n" }).collect();
        queries.sort_unstable();
        let made = match target {
            // There the parts of a correlation stand apart, too.
            "splunk" => {
                queries.iter().map(|query| format!("sourcetype={}", query.trim_start_matches("sourcetype="))).collect()
            }
            _ => queries.iter().map(|query| (*query).to_owned()).collect::<Vec<_>>(),
        };
        // One to a rule: a heartbeat and a denied flow are rules by themselves only where there are no correlations.
        assert_eq!(made.len(), 3, "{target}: {made:#?}");
        let made = made.join("\n\n") + "\n";
        let path = root().join("deploy/siem/sigma/converted").join(file);
        if std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1") {
            std::fs::write(&path, &made).expect("a writable file");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(made, there, "{}", path.display());
    }
}

#[test]
fn its_own_validators_find_nothing() {
    // Those left out look tags up in the network.
    let checks = ["check", "--fail-on-issues", "-x", "attacktag", "-x", "d3_fendtag", "-x", "stptag"];
    let Some(ran) = sigma(&[&checks[..], &["detections"]].concat()) else { return };
    ran.expect_code(0);
    // And they do look.
    let folder = support::temp_dir();
    let rule = "title: x\nstatus: experimental\nlogsource: {product: tidegate}\ndetection: {a: {act: deny}, b: {act: allow}, condition: a}\n";
    std::fs::write(folder.path().join("rule.yml"), rule).expect("a rule");
    let Some(ran) = sigma(&[&checks[..], &[folder.path().to_str().expect("a plain path")]].concat()) else { return };
    assert_ne!(ran.code(), Some(0), "{}", ran.stdout);
}
