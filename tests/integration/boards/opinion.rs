//! A second opinion on Kibana's files: another project's types of Kibana's objects (`tests/boards/second-opinion`).

use std::process::Command;

use crate::support::{root, run_command, temp_dir, went_without};

const FILES: [&str; 2] = ["deploy/kibana/tidegate-8.ndjson", "deploy/kibana/tidegate-9.ndjson"];

fn ask(file: &std::path::Path) -> crate::support::Ran {
    run_command(Command::new(root().join("tests/boards/second-opinion")).arg(file), "")
}

#[test]
fn another_projects_types_take_every_panel() {
    for file in FILES {
        let ran = ask(&root().join(file));
        if ran.code() == Some(3) {
            return went_without("kb-dashboard-core", &ran.stderr);
        }
        println!("{file}: {}", ran.stdout);
        let told: serde_json::Value = serde_json::from_str(&ran.expect_code(0).stdout).expect("JSON");
        assert!(told["decoded"]["column"].as_u64() > Some(150), "{told}");
        assert_eq!(told["decoded"]["visualization"], 73, "{told}");
    }
}

#[test]
fn another_projects_types_refuse_what_is_broken() {
    let text = std::fs::read_to_string(root().join(FILES[1])).expect("the file");
    let folder = temp_dir();
    for (from, to) in [
        (r#"\"metricAccessor\":"#, r#"\"metricAccesor\":"#),
        (r#"\"operationType\":\"date_histogram\""#, r#"\"operationType\":\"date\""#),
        (r#"\"searchTechnique\":\"prefix\""#, r#"\"searchTechnique\":\"guess\""#),
        (r#"\"shape\":\"heatmap\""#, r#"\"shape\":\"hot\""#),
    ] {
        assert!(text.contains(from), "{from}");
        let file = folder.path().join("broken.ndjson");
        std::fs::write(&file, text.replacen(from, to, 1)).expect("a file");
        let ran = ask(&file);
        if ran.code() == Some(3) {
            return went_without("kb-dashboard-core", &ran.stderr);
        }
        assert_eq!(ran.code(), Some(1), "{to} is taken: {}", ran.stdout);
    }
}
