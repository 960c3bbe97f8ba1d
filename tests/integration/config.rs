//! Configuration and command line through the built program: every problem at once, the example, what is in force, and
//! what `convert` writes.

use std::path::{Path, PathBuf};

use crate::support::{Ran, root, run, run_command, temp_dir, tidegate};

/// The folders below `fixtures/<area>`, in order.
fn cases(area: &str) -> Vec<PathBuf> {
    let area = root().join("fixtures").join(area);
    let entries = std::fs::read_dir(&area).unwrap_or_else(|error| panic!("{}: {error}", area.display()));
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

/// Compares with a golden file; `UPDATE_FIXTURES=1` writes it instead.
#[track_caller]
fn golden(file: &Path, got: &str) {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(file, got).expect("the fixture is writable");
        return;
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(got, expected, "{} (UPDATE_FIXTURES=1 rewrites it)", file.display());
}

/// Runs a check in a fixture's folder, so that problems name the file as a user would.
fn check_in(case: &Path, more: &[&str]) -> Ran {
    let mut args = vec!["check", "-c", "tidegate.yaml"];
    if case.join("zones.yaml").exists() {
        args.extend(["--zones", "zones.yaml"]);
    }
    args.extend(more);
    run_command(tidegate(&args).current_dir(case).env("NODE_NAME", "node-a1"), "")
}

#[test]
fn every_problem_is_told_at_once() {
    let cases = cases("config");
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    for case in cases {
        let ran = check_in(&case, &[]);
        golden(&case.join("expected.txt"), &ran.stdout);
        let errors = ran.stdout.lines().any(|line| !line.contains(": warning: "));
        assert_eq!(ran.code(), Some(if errors { 3 } else { 0 }), "{}\n{}", case.display(), ran.stderr);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains("hunter2"), "{}: a secret is told:\n{text}", case.display());
        }
    }
}

#[test]
fn warnings_can_be_denied_and_read_by_programs() {
    let case = root().join("fixtures/config/warnings_only");
    let ran = check_in(&case, &["--deny-warnings", "-o", "json"]).expect_code(3);
    let problems: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(problems[0]["severity"], "warning");
    assert_eq!(problems[0]["origin"], "tidegate.yaml");
    assert_eq!(problems[0]["path"], "sinks.elasticsearch.hosts[0]");
    assert!(problems[0]["line"].is_u64() && problems[0]["column"].is_u64(), "{problems:#}");
}

#[test]
fn a_problem_of_the_zones_is_one_of_the_configuration() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("zones.yaml"), "apiVersion: zones/v1\nzones:\n- nmae: dmz\n").expect("written");
    let flags = ["check", "--source", "flows.log", "--siem", "tcp://siem", "--zones", "zones.yaml"];
    let ran = run_command(tidegate(&flags).current_dir(dir.path()).env("NODE_NAME", "n"), "").expect_code(3);
    assert!(ran.stdout.contains("zones.yaml:3:3: zones[0].nmae: "), "{}", ran.stdout);
    std::fs::remove_file(dir.path().join("zones.yaml")).expect("removed");
    let ran = run_command(tidegate(&flags).current_dir(dir.path()).env("NODE_NAME", "n"), "").expect_code(3);
    assert!(ran.stdout.contains("cannot read the zones"), "{}", ran.stdout);
}

#[test]
fn a_missing_file_is_told() {
    let ran = run(&["check", "-c", "/nowhere/tidegate.yaml"], "").expect_code(3);
    assert!(ran.stdout.starts_with("/nowhere/tidegate.yaml: cannot read the configuration"), "{}", ran.stdout);
}

#[test]
fn flag_stands_above_environment_above_file_above_default() {
    let dir = temp_dir();
    let text = "cluster: file\nnode: file\nstate_dir: /file\nsources: [{path: /logs/flows.log}]\n\
                sinks:\n  elasticsearch:\n    hosts: [\"https://es:9200\"]\n";
    std::fs::write(dir.path().join("t.yaml"), text).expect("written");
    let args = ["config", "print", "-c", "t.yaml", "--cluster", "flag"];
    let mut command = tidegate(&args);
    command.current_dir(dir.path());
    command.envs([("TIDEGATE_CLUSTER", "env"), ("TIDEGATE_NODE", "env"), ("NODE_NAME", "downward")]);
    let printed = run_command(&mut command, "").expect_code(0).stdout;
    for line in [
        "cluster: flag  # --cluster",
        "node: env  # environment TIDEGATE_NODE",
        "state_dir: /file  # t.yaml:3:12",
        "listen: 127.0.0.1:9464  # default",
        "    timeout: 60s  # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} is not in\n{printed}");
    }
    // What is printed is a configuration again, and the same one.
    std::fs::write(dir.path().join("again.yaml"), &printed).expect("written");
    let again = run_command(tidegate(&["config", "print", "-c", "again.yaml"]).current_dir(dir.path()), "");
    let values = |text: &str| {
        text.lines().map(|line| line.split("  #").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&again.expect_code(0).stdout), values(&printed));
}

#[test]
fn the_node_is_named_by_its_surroundings() {
    let flags = ["config", "print", "--source", "/logs/*.log", "--elasticsearch", "https://es:9200"];
    let printed = run_command(tidegate(&flags).env("NODE_NAME", "downward"), "").expect_code(0).stdout;
    assert!(printed.contains("node: downward  # environment NODE_NAME"), "{printed}");
    let printed = run(&flags, "").expect_code(0).stdout;
    assert!(printed.lines().any(|line| line.starts_with("node: ") && line.ends_with("  # host name")), "{printed}");
}

#[test]
fn schema_and_example_are_printed() {
    let schema: serde_json::Value =
        serde_json::from_str(&run(&["config", "schema"], "").expect_code(0).stdout).expect("JSON");
    assert_eq!(schema["title"], "Tidegate configuration");
    let example = run(&["config", "example"], "").expect_code(0).stdout;
    assert_eq!(example, std::fs::read_to_string(root().join("deploy/tidegate.example.yaml")).expect("the example"));
}

#[test]
fn exit_codes_of_usage() {
    run(&["run", "--no-such-flag"], "").expect_code(2);
    run(&["convert"], "").expect_code(2);
    run(&["--help"], "").expect_code(0);
    let bare = run::<&str>(&[], "").expect_code(2);
    assert!(bare.stdout.is_empty() && bare.stderr.contains("Usage:"), "{}", bare.stderr);
    let version = run(&["version", "-o", "json"], "").expect_code(0).stdout;
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}
