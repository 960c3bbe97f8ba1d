//! `tidegate render`: records as they would stand on the wire, and what became of each key.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Ran, root, run_command, temp_dir, tidegate};

const ZONES: &str = "fixtures/cef/all-cross/zones.yaml";

fn render(args: &[&str], input: impl Into<Vec<u8>>) -> Ran {
    let args = [&["render", "--cluster", "test-cluster", "--node", "test-node"], args].concat();
    run_command(tidegate(&args).current_dir(root()), input.into())
}

fn input(case: &str) -> Vec<u8> {
    std::fs::read(path(case)).expect("an input")
}

/// Text that breaks receivers, in flows that the destination reports.
fn hostile() -> Vec<u8> {
    let text = String::from_utf8(input("hostile-strings")).expect("UTF-8");
    text.replace("\"reporter\":\"src\"", "\"reporter\":\"dst\"").into_bytes()
}

fn path(case: &str) -> PathBuf {
    root().join("fixtures/flows").join(case).join("input.jsonl")
}

/// The records of `convert` are those of `render`, which adds the header.
#[test]
fn a_record_is_what_convert_gives_behind_a_header() {
    let convert = ["convert", "--to", "cef", "--cluster", "test-cluster", "--node", "test-node", "--zones", ZONES];
    let text = [hostile(), input("both-halves"), input("both-halves")].concat();
    let convert = run_command(tidegate(&convert).current_dir(root()), text.clone()).expect_code(0).stdout;
    assert!(convert.lines().count() > 1);
    let message = render(&["--zones", ZONES, "--message"], text.clone()).expect_code(0).stdout;
    assert_eq!(message, convert);
    let folder = temp_dir();
    let file = folder.path().join("flows.log");
    std::fs::write(&file, &text).expect("written");
    let from_file = render(&["--zones", ZONES, "--message", file.to_str().expect("a plain path")], "").expect_code(0);
    assert_eq!(from_file.stdout, convert);
    let whole = render(&["--zones", ZONES, "-"], text).expect_code(0).stdout;
    for (number, (whole, record)) in whole.lines().zip(convert.lines()).enumerate() {
        let header = whole.strip_suffix(record).unwrap_or_else(|| panic!("{whole}"));
        let end = format!(" TRAFFIC [meta sequenceId=\"{}\"] ", number + 1);
        assert!(header.starts_with("<13") && header.contains("Z test-node tidegate "), "{header}");
        assert!(header.ends_with(&end), "{header}");
    }
}

#[track_caller]
fn begins(args: &[&str], start: &str, more: &[&str]) {
    let out = render(&[args, &["--zones", ZONES]].concat(), input("both-halves")).expect_code(0).stdout;
    let first = out.lines().next().unwrap_or_else(|| panic!("{args:?} gives nothing"));
    let process = first.split("tidegate ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let first = first.replace(&format!(" {process} TRAFFIC"), " PID TRAFFIC");
    assert!(first.starts_with(start), "{args:?}: {first}");
    for part in more {
        assert!(first.contains(part), "{args:?}: {part:?} is not in {first}");
    }
}

#[test]
fn each_profile_and_format_has_its_form() {
    let modern = "<134>1 2026-01-01T00:05:00.000Z test-node tidegate PID TRAFFIC [meta sequenceId=\"1\"]";
    let old = "<134>Jan  1 00:05:00 test-node ";
    let local4 = "<166>Jan  1 00:05:00 test-node ";
    begins(&[], &format!("{modern} CEF:0|Tidegate|Tidegate|"), &[]);
    begins(&["--profile", "arcsight"], &format!("{old}CEF:0|"), &[" TidegateSequence=1"]);
    begins(&["--profile", "sentinel"], &format!("{local4}CEF:0|"), &[]);
    begins(
        &["--profile", "qradar"],
        &format!("{old}LEEF:2.0|Tidegate|Tidegate|"),
        &["|flow:allow|x09|sev=3\tdevTime="],
    );
    begins(&["--profile", "splunk-sc4s"], &format!("{modern} CEF:0|"), &[]);
    begins(&["--profile", "elastic"], &format!("{modern} CEF:0|"), &[]);
    begins(&["--profile", "rsyslog"], &format!("{modern} @cee: {{\"@timestamp\":"), &[]);
    let object = "{\"time\":1767225900.000,\"host\":\"test-node\",\"source\":\"tidegate\",\"sourcetype\":\"calico:flow";
    begins(
        &["--profile", "splunk-hec"],
        &format!("{object}\",\"fields\":{{\"src_zone\":"),
        &["\"event\":{\"@timestamp\""],
    );
    begins(&["--profile", "splunk-hec", "--format", "cef"], &format!("{object}:cef\","), &["\"event\":\"CEF:0|"]);
    begins(&["--profile", "rsyslog", "--format", "cef"], &format!("{modern} CEF:0|"), &[]);
    begins(
        &["--format", "ecs-json", "--header", "rfc3164-tagged"],
        &format!("{old}tidegate: {{"),
        &["tidegate_sequence"],
    );
    begins(
        &["--format", "structured-data"],
        &format!("{modern}[flow@32473 class=\"flow:allow\" "),
        &["] Cross-zone flow"],
    );
}

#[test]
fn what_cannot_be_is_said() {
    let told = |args: &[&str], code: i32| render(args, "").expect_code(code).stderr;
    let stderr = told(&["--format", "structured-data", "--header", "rfc3164", "--zones", ZONES], 3);
    assert!(stderr.contains("structured data stands in the RFC 5424 header only"), "{stderr}");
    assert!(told(&["--zones", ZONES, "--profile", "logrhythm"], 2).contains("splunk-sc4s"));
    assert!(told(&["--format", "cef"], 2).contains("--zones"));
    assert!(told(&["--zones", ZONES, "-c", "x.yaml", "--format", "leef"], 2).contains("cannot be used with"));
    assert!(told(&["--zones", "fixtures/zones/bad-keys/zones.yaml"], 3).contains("zones.yaml:"));
    let stderr = render(&["--zones", ZONES], "no flow\n").expect_code(4).stderr;
    assert!(stderr.contains("skipped the line at byte 0: no flow"), "{stderr}");
    assert!(told(&["--zones", ZONES, "/nowhere/flows.log"], 1).contains("cannot read /nowhere/flows.log"));
}

#[test]
fn a_destination_of_a_configuration_is_rendered() {
    let dir = temp_dir();
    let file = dir.path().join("tidegate.yaml");
    let text = "cluster: c\nnode: n\nsinks:\n  siem:\n  - {name: one, url: \"tcp://a\", device_vendor: \"A|B\", verdict: deny}\n  \
                - {name: two, url: \"udp://a\", profile: qradar, leef_delimiter: \"^\", device_product: \"A|B\"}\n";
    std::fs::write(&file, format!("zones: {}\n{text}", root().join(ZONES).display())).expect("written");
    let file = file.to_str().expect("a plain path");
    let all = path("both-halves");
    let all = all.to_str().expect("a plain path");
    let out = |name: &str| render(&["-c", file, "--destination", name, all], "").expect_code(0).stdout;
    let two = out("two");
    assert!(two.contains("LEEF:2.0|Tidegate|A;B|") && two.contains("|^|sev=3^devTime="), "{two}");
    let denied =
        render(&["-c", file, "--destination", "one", path("denied-by-destination").to_str().expect("a path")], "");
    let one = denied.expect_code(0).stdout;
    assert!(one.contains("CEF:0|A\\|B|Tidegate|") && one.lines().all(|line| line.contains("act=deny")), "{one}");
    assert_eq!(out("one"), "", "only denied flows are wanted");
    let stderr = render(&["-c", file, all], "").expect_code(1).stderr;
    assert!(stderr.contains("give --destination, one of one, two"), "{stderr}");
    let stderr = render(&["-c", file, "--destination", "three", all], "").expect_code(1).stderr;
    assert!(stderr.contains("no SIEM destination is named \"three\""), "{stderr}");
}

fn explained(args: &[&str], input: Vec<u8>) -> Vec<Value> {
    let args = [args, &["--zones", ZONES, "--explain", "-o", "json"]].concat();
    let out = render(&args, input).expect_code(0).stdout;
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn key<'l>(line: &'l Value, key: &str) -> &'l Value {
    let keys = line["keys"].as_array().expect("keys");
    keys.iter().find(|fact| fact["key"] == key).unwrap_or_else(|| panic!("{key} is not in {line:#}"))
}

#[test]
fn what_became_of_each_key_is_explained() {
    let lines = explained(&["--message"], hostile());
    let line = lines.iter().find(|line| line["keys"].is_array()).expect("a record");
    let record = line["record"].as_str().expect("a record");
    let shost = key(line, "shost");
    assert_eq!(shost["from"].as_str().map(|from| from.starts_with("source_name")), Some(true), "{shost}");
    assert_eq!(shost["became"], serde_json::json!(["escaped", "sanitised"]));
    assert!(shost["value"].as_str().is_some_and(|value| value.contains("\r\n") && value.contains("CEF:0|")), "{shost}");
    let written = shost["written"].as_str().expect("text");
    assert!(record.contains(&format!(" shost={written} ")), "{written}");
    assert_eq!(key(line, "rt")["became"], serde_json::json!([]));
    // Every key with its value, as the record has it.
    let keys = line["keys"].as_array().expect("keys").iter().filter(|fact| !fact["key"].is_null());
    for fact in keys {
        let (key, written) = (fact["key"].as_str().expect("a key"), fact["written"].as_str().expect("a value"));
        assert!(record.contains(&format!("{key}={written}")), "{fact}");
        assert!(fact["from"].is_string(), "{fact}");
    }
    let sd = explained(&["--format", "structured-data"], hostile());
    let sd = sd.iter().find(|line| line["keys"].is_array()).expect("a record");
    assert_eq!(key(sd, "class")["written"], "flow:allow");
    let ecs = explained(&["--format", "ecs-json"], input("both-halves"));
    let ecs = ecs.iter().find(|line| line["keys"].is_array()).expect("a record");
    assert_eq!(key(ecs, "source.ip")["from"], "source_ip");
}

#[test]
fn a_flow_without_a_record_has_its_reason() {
    let flow = |source: &str, dest: &str, more: &str| {
        format!(
            "{{\"end_time\":1767225900,\"source_type\":\"net\",\"source_ip\":\"{source}\",\"dest_type\":\"net\",\
             \"dest_ip\":\"{dest}\",\"proto\":\"tcp\",\"action\":\"allow\"{more}}}\n"
        )
    };
    let dir = temp_dir();
    let zones = dir.path().join("zones.yaml");
    let text = "apiVersion: zones/v1\nzones:\n- {name: a, match: [{cidr: [10.0.0.0/8]}]}\n- {name: b, match: [{cidr: [192.168.0.0/16]}]}\n";
    std::fs::write(&zones, text).expect("written");
    let zones = zones.to_str().expect("a plain path");
    let (a, b, nowhere) = ("10.0.0.1", "192.168.0.1", "8.8.8.8");
    for (line, why) in [
        (flow(a, a, ",\"reporter\":\"dst\""), "both ends are in zone a"),
        (flow(a, nowhere, ",\"reporter\":\"dst\""), "an end is in zone unknown (a to unknown), and unknown is false"),
        (flow(a, b, ",\"reporter\":\"fwd\""), "it is the other half"),
    ] {
        let ran = render(&["--zones", zones, "--explain"], line).expect_code(0);
        assert!(
            ran.stdout.starts_with("# the line at byte 0 gives no record: ") && ran.stdout.contains(why),
            "{}",
            ran.stdout
        );
    }
    let ran = render(&["--zones", zones, "--explain"], flow(a, b, ",\"reporter\":\"dst\"")).expect_code(0);
    assert!(ran.stdout.contains("\n  cs4 (Source Zone)  a  <- zones.yaml\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("  dst  192.168.0.1  <- dest_ip, IPv4"), "{}", ran.stdout);
}
