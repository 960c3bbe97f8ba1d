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

/// What the golden files of `fixtures/flows` were made with.
const CONVERT: [&str; 5] = ["convert", "--cluster", "test-cluster", "--node", "test-node"];
/// Zones that the fixtures' flows were made for.
const ZONES: &str = "fixtures/zones/shop/zones.yaml";

fn convert(to: &str, more: &[&str], input: Vec<u8>) -> Ran {
    let args = [&CONVERT[..], &["--to", to], more].concat();
    run_command(tidegate(&args).current_dir(root()), input)
}

fn input_of(case: &Path) -> Vec<u8> {
    std::fs::read(case.join("input.jsonl")).expect("an input")
}

/// A case may have zones of its own.
fn own_zones(case: &Path) -> Option<String> {
    let path = case.join("zones.yaml");
    path.exists().then(|| path.to_str().expect("a path in UTF-8").to_owned())
}

/// The golden documents are those of the agent, which knows the file's path; standard input has none.
fn without_path(document: &str) -> String {
    let mut document: serde_json::Value = serde_json::from_str(document).expect("a document");
    let log = document["log"].as_object_mut().expect("the agent names the file");
    log.remove("file");
    if log.is_empty() {
        document.as_object_mut().expect("an object").remove("log");
    }
    document["agent"]["version"] = env!("CARGO_PKG_VERSION").into();
    document.to_string()
}

#[test]
fn convert_gives_the_documents_of_the_agent() {
    let cases = cases("flows");
    assert!(cases.len() > 30, "only {} cases", cases.len());
    for case in cases {
        let own = own_zones(&case);
        let zones: Vec<_> = own.iter().flat_map(|zones| ["--zones", zones]).collect();
        let ran = convert("ecs", &zones, input_of(&case)).expect_code(0);
        let golden = std::fs::read_to_string(case.join("expected.ecs.jsonl")).expect("golden documents");
        let expected: Vec<String> = golden.lines().map(without_path).collect();
        let reorder = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a document").to_string();
        let got: Vec<String> = ran.stdout.lines().map(reorder).collect();
        assert_eq!(got.len(), expected.len(), "{}", case.display());
        // One document at a time: a whole case of them is too much to read.
        for (number, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert!(got == expected, "{}, document {}:\n{got}\nexpected:\n{expected}", case.display(), number + 1);
        }
    }
}

#[test]
fn convert_gives_the_records_of_the_siem_lane() {
    let mut records = 0;
    for case in cases("flows") {
        let own = own_zones(&case);
        let ran = convert("cef", &["--zones", own.as_deref().unwrap_or(ZONES)], input_of(&case));
        let refused = case.file_name().is_some_and(|name| name.to_string_lossy().starts_with("not-flows"));
        assert_eq!(ran.code(), Some(if refused { 4 } else { 0 }), "{}\n{}", case.display(), ran.stderr);
        assert_eq!(ran.stderr.contains("skipped the line at byte "), refused, "{}", ran.stderr);
        let version = concat!("|", env!("CARGO_PKG_VERSION"), "|");
        let got = ran.stdout.replace(version, "|0.0.0|");
        records += got.lines().count();
        if !got.is_empty() || case.join("expected.cef").exists() {
            golden(&case.join("expected.cef"), &got);
        }
    }
    assert!(records >= 10, "only {records} records");
}

#[test]
fn convert_names_the_zones_in_documents() {
    let input = input_of(&root().join("fixtures/flows/denied-by-destination"));
    let ran = convert("ecs", &["--zones", ZONES], input).expect_code(0);
    let document: serde_json::Value =
        serde_json::from_str(ran.stdout.lines().next().expect("a document")).expect("JSON");
    assert_eq!(document["observer"]["ingress"]["zone"], "dmz");
    assert_eq!(document["observer"]["egress"]["zone"], "restricted");
}

const FLOW: &str = r#"{"start_time":1767225600,"end_time":1767225900,"source_type":"net","dest_type":"wep","proto":"tcp","action":"allow","reporter":"dst"}"#;

#[test]
fn convert_skips_what_is_too_long_and_keeps_offsets() {
    let long = "x".repeat((1 << 20) + 1);
    let text = format!("{FLOW}\n{long}\n\n{FLOW}");
    let ran = convert("ecs", &[], text.into_bytes()).expect_code(4);
    let expected = format!("skipped the line at byte {}: the line has {} bytes", FLOW.len() + 1, long.len());
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    let offsets: Vec<u64> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|document| document["calico"]["log"]["offset"].as_u64().expect("an offset"))
        .collect();
    assert_eq!(offsets, [0, (FLOW.len() + 1 + long.len() + 2) as u64]);
}

#[test]
fn convert_ends_quietly_when_nobody_reads_on() {
    use std::io::{Read as _, Write as _};
    let mut command = tidegate(&[&CONVERT[..], &["--to", "ecs"]].concat());
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A first document arrives while the input is still open: lines are not held back.
    stdin.write_all(format!("{FLOW}\n").as_bytes()).expect("written");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut first = [0];
    stdout.read_exact(&mut first).expect("a document");
    drop(stdout);
    // The program may end at any of these writes.
    for _ in 0..2000 {
        if stdin.write_all(format!("{FLOW}\n").as_bytes()).is_err() {
            break;
        }
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn convert_says_why_there_is_no_record() {
    let ran = convert("cef", &[], FLOW.into()).expect_code(0);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("without --zones no flow crosses zones"), "{}", ran.stderr);
    let ran = convert("cef", &["--zones", "fixtures/zones/bad-keys/zones.yaml"], FLOW.into()).expect_code(3);
    assert!(ran.stderr.starts_with("fixtures/zones/bad-keys/zones.yaml:"), "{}", ran.stderr);
}

#[test]
fn zones_which_explains_an_end_or_a_flow() {
    let which = |more: &[&str], stdin: &str| {
        let args = [&["zones", "which", "--zones", ZONES], more].concat();
        run_command(tidegate(&args).current_dir(root()), stdin)
    };
    for (flags, zone) in [
        (vec!["--namespace", "checkout"], "trusted"),
        (vec!["--namespace", "x", "--labels", "app=web,fw-zone=dmz"], "dmz"),
        (vec!["--ip", "198.51.100.14"], "partners"),
        (vec!["--ip", "2001:4860:4860::8888"], "internet"),
        (vec!["--name", "node-a1", "--type", "hep"], "nodes"),
        (vec!["--name", "acme-bank", "--namespace", "partners", "--type", "ns"], "partners"),
        (vec!["--name", "pub"], "internet"),
        (vec!["--namespace", "somewhere"], "unknown"),
    ] {
        let ran = which(&flags, "").expect_code(0);
        let first = ran.stdout.lines().next().unwrap_or_default();
        assert!(first.ends_with(&format!("is in zone {zone}")), "{flags:?}: {}", ran.stdout);
        let json: serde_json::Value =
            serde_json::from_str(&which(&[&flags[..], &["-o", "json"]].concat(), "").stdout).expect("JSON");
        assert_eq!(json["zone"], zone);
    }
    let case = root().join("fixtures/flows/denied-by-destination/input.jsonl");
    let line = std::fs::read_to_string(case).expect("an input");
    let ran = which(&[], &line).expect_code(0);
    assert!(ran.stdout.starts_with("source: ") && ran.stdout.contains("\ndestination: "), "{}", ran.stdout);
    let ran = which(&[], "no flow\n").expect_code(1);
    assert!(ran.stderr.contains("the line on standard input is no flow"), "{}", ran.stderr);
}

#[test]
fn zones_check_tells_every_problem() {
    for case in cases("zones") {
        let ran = run_command(tidegate(&["zones", "check", "zones.yaml"]).current_dir(&case), "");
        let expected = std::fs::read_to_string(case.join("expected.problems")).expect("golden problems");
        let expected: String = expected.lines().map(|line| format!("zones.yaml:{line}\n")).collect();
        assert_eq!(ran.stdout.lines().count(), expected.lines().count(), "{}\n{}", case.display(), ran.stdout);
        let errors = ran.stdout.lines().any(|line| !line.contains(": warning: "));
        assert_eq!(ran.code(), Some(if errors { 3 } else { 0 }), "{}\n{}", case.display(), ran.stdout);
    }
    let schema = run(&["zones", "schema"], "").expect_code(0).stdout;
    assert!(
        serde_json::from_str::<serde_json::Value>(&schema)
            .is_ok_and(|schema| schema["properties"]["zones"].is_object())
    );
}

#[test]
fn check_connect_says_what_the_peers_answered() {
    // Somebody listens on one port and nobody on the other.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let there = listener.local_addr().expect("a bound socket");
    let receiver = std::thread::spawn(move || {
        use std::io::Read as _;
        let (mut peer, _) = listener.accept().expect("a connection");
        let mut sent = Vec::new();
        peer.read_to_end(&mut sent).expect("it closes");
        sent
    });
    let nobody = crate::support::free_port();
    let (siem, elasticsearch) = (format!("tcp://{there}?name=soc"), format!("http://127.0.0.1:{nobody}"));
    let args = ["check", "--connect", "--source", "/logs/*.log", "--elasticsearch", &elasticsearch, "--siem", &siem];
    let args = [&args[..], &["--zones", ZONES, "--node", "n"]].concat();
    let ran = run_command(tidegate(&args).current_dir(root()), "").expect_code(3);
    assert_eq!(receiver.join().expect("no panic"), b"", "nothing is sent to a receiver");
    let line = |start: &str| {
        ran.stdout.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{}", ran.stdout))
    };
    assert!(line("siem-soc: ").contains(&format!("good: tcp://{there}: connected")), "{}", ran.stdout);
    assert!(line("elasticsearch: bad: ").contains(&elasticsearch), "{}", ran.stdout);
}

#[test]
fn setup_without_elasticsearch_says_what_is_missing() {
    let flags = ["setup", "--siem", "tcp://siem", "--zones", ZONES, "--node", "n"];
    let ran = run_command(tidegate(&flags).current_dir(root()), "").expect_code(1);
    assert!(ran.stderr.contains("no Elasticsearch is configured; give --elasticsearch URL"), "{}", ran.stderr);
}

/// Zones, and lines between them, for what follows.
fn three_flows() -> (tempfile::TempDir, String) {
    let dir = temp_dir();
    let zones = "apiVersion: zones/v1\nzones:\n- {name: dmz, match: [{namespace: web}]}\n- {name: restricted, match: [{namespace: data}]}\n";
    std::fs::write(dir.path().join("zones.yaml"), zones).expect("written");
    let line = |from: &str, to: &str, action: &str, port: u16, end: i64| {
        format!(
            r#"{{"start_time":{},"end_time":{end},"source_type":"wep","source_namespace":"{from}","dest_type":"wep","dest_namespace":"{to}","dest_port":{port},"proto":"tcp","action":"{action}","reporter":"dst","bytes_in":10,"bytes_out":20}}"#,
            end - 300
        )
    };
    let begin = 1_767_225_600;
    let lines = [
        line("web", "data", "deny", 22, begin),
        line("web", "data", "allow", 443, begin + 1200),
        line("data", "web", "allow", 443, begin + 1201),
        line("web", "web", "deny", 22, begin + 3600),
        "no flow".to_owned(),
    ];
    (dir, lines.join("\n") + "\n")
}

#[test]
fn convert_takes_a_filter() {
    let (dir, text) = three_flows();
    let check = |to: &str, filter: &str, code: i32, lines: usize| {
        let args = [&CONVERT[..], &["--to", to, "--zones", "zones.yaml", "--filter", filter]].concat();
        let ran = run_command(tidegate(&args).current_dir(dir.path()), text.clone()).expect_code(code);
        assert_eq!(ran.stdout.lines().count(), lines, "{filter}: {}\n{}", ran.stdout, ran.stderr);
        ran.stderr
    };
    check("ecs", "verdict = deny", 0, 2);
    check("ecs", "not verdict = deny", 0, 2);
    check("cef", "verdict = deny", 0, 1);
    check("cef", "zones = dmz -> restricted and port < 1000", 0, 2);
    let told = check("ecs", "verdit = deny or port = x", 2, 0);
    for part in [
        "1:1: there is no field \"verdit\"; did you mean verdict?",
        "1:25: \"x\" is no port",
        "\n                          ^",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn an_expression_is_checked_by_itself() {
    let (dir, _) = three_flows();
    let check = |expression: &str, code: i32| {
        let args = ["query", "check", "--zones", "zones.yaml", expression];
        run_command(tidegate(&args).current_dir(dir.path()), "").expect_code(code)
    };
    let ran = check("action=DENY && dst.zone==restrictd", 0);
    assert_eq!(ran.stdout, "verdict = deny and dest.zone = restrictd\n");
    assert!(
        ran.stderr.contains("there is no zone \"restrictd\"") && ran.stderr.contains("did you mean \"restricted\"?"),
        "{}",
        ran.stderr
    );
    let ran = check("verdict = ", 3);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("1:11: the expression ends here"), "{}", ran.stderr);
    let fields = run(&["query", "fields", "-o", "json"], "").expect_code(0).stdout;
    let fields: serde_json::Value = serde_json::from_str(&fields).expect("JSON");
    assert!(
        fields.as_array().expect("a list").iter().any(|field| field["name"] == "dest.zone" || field["name"] == "zone")
    );
}

#[test]
fn an_estimate_counts_what_each_destination_would_get() {
    let (dir, text) = three_flows();
    std::fs::create_dir(dir.path().join("logs")).expect("made");
    std::fs::write(dir.path().join("logs/flows.log"), &text).expect("written");
    let config = "zones: ZONES\nsinks:\n  siem:\n  - {name: all, url: 'tls://siem'}\n  - {name: ssh, url: 'udp://siem', flows: all, filter: dest.port = 22,\n     \
                  classes: [{to: restricted, class: 'flow:jewels'}, {from: restricted, drop: true}]}\n";
    let zones = dir.path().join("zones.yaml");
    std::fs::write(dir.path().join("t.yaml"), config.replace("ZONES", zones.to_str().expect("UTF-8")))
        .expect("written");
    let estimate = |more: &[&str]| {
        let args = [&["siem", "estimate", "-c", "t.yaml", "--node", "n", "--state-dir", "/nowhere", "logs"][..], more]
            .concat();
        run_command(tidegate(&args).current_dir(dir.path()), "")
    };
    let report: serde_json::Value =
        serde_json::from_str(&estimate(&["-o", "json"]).expect_code(0).stdout).expect("JSON");
    let [all, ssh] = report["destinations"].as_array().expect("a list").as_slice() else { panic!("{report:#}") };
    // What convert writes is what is counted, but for the syslog header.
    let args = [&CONVERT[..], &["--to", "cef", "--zones", "zones.yaml"]].concat();
    let records = run_command(tidegate(&args).current_dir(dir.path()), text).expect_code(4).stdout;
    assert_eq!(
        (&all["lane"], &all["lines_read"], &all["flows_read"], &all["not_flows"]),
        (&"siem-all".into(), &5.into(), &4.into(), &1.into())
    );
    assert_eq!(all["records"], records.lines().count());
    let bytes = all["bytes"].as_u64().expect("a number") as usize;
    assert!((records.len() + 3 * 50..records.len() + 3 * 120).contains(&bytes), "{bytes} of {}", records.len());
    assert_eq!(all["span_seconds"], 3600 + 300);
    assert_eq!(all["records_per_second"]["busiest_minute"], 0.0333, "two of them in one minute");
    assert_eq!(all["records_per_day"], (3.0f64 * 86_400.0 / 3900.0).round());
    assert!(all["caveat"].as_str().is_some_and(|caveat| caveat.starts_with("only 1 h 5 min of event time")), "{all:#}");
    assert_eq!((&all["zone_pairs"][0]["from"], &all["zone_pairs"][0]["records"]), (&"dmz".into(), &2.into()));
    let classes: Vec<_> = ssh["classes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|class| (class["class"].as_str(), class["records"].as_u64()))
        .collect();
    assert_eq!(classes, [(Some("flow:deny"), Some(1)), (Some("flow:jewels"), Some(1))]);
    assert_eq!((&ssh["records"], &ssh["filtered"]), (&2.into(), &3.into()));

    let text = estimate(&["--destination", "ssh"]).expect_code(0).stdout;
    assert!(text.contains("siem-ssh (udp://siem:514)") && !text.contains("siem-all"), "{text}");
    assert!(text.contains("flow:jewels") && text.contains("dmz -> restricted"), "{text}");
    let short = estimate(&["--destination", "all", "--to", "1767225700", "-o", "json"]).expect_code(0).stdout;
    let short: serde_json::Value = serde_json::from_str(&short).expect("JSON");
    assert_eq!(short["destinations"][0]["gb_per_day"], serde_json::Value::Null);
    assert!(
        short["destinations"][0]["caveat"]
            .as_str()
            .is_some_and(|caveat| caveat.contains("too little for figures a day"))
    );
    let other = estimate(&["--destination", "soc"]).expect_code(1).stderr;
    assert!(other.contains("there is none of that name; there are all, ssh"), "{other}");
}
