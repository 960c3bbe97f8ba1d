//! The README's way from nothing to the first answer, line by line as it stands there.

use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::{Peer, alone};
use crate::boards::install::{stand_in, status};
use crate::support::{Running, bin, root, tidegate};

/// Lines of the path, an install line included.
const MOST: usize = 10;

#[test]
fn the_first_answer_comes_as_the_readme_says() {
    let Some(server) = Peer::OpenSearch2.server() else { return };
    let _alone = alone();
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, path) = readme.split_once("## The first answer").expect("the section");
    let (path, _) = path.split_once("```sh\n").and_then(|(_, rest)| rest.split_once("```")).expect("its lines");
    assert!(path.lines().count() <= MOST, "{path}");
    let (dashboards, _) = stand_in(|(line, _, body)| match line {
        line if line.contains("/api/status") => status("2.19.4"),
        _ => {
            let lines = body.lines().filter(|line| line.starts_with('{')).count();
            (200, format!(r#"{{"success":true,"successCount":{lines}}}"#))
        }
    });
    // The program is built already, and nothing is where the README has it.
    let path = path.replace("http://localhost:9200", server.url()).replace("http://localhost:5601", &dashboards);
    let script = format!("cargo() {{ echo installed; }}\n{path}");
    let folder = bin().parent().expect("a folder").to_str().expect("UTF-8");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
    for (name, value) in tidegate::<&str>(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let ran = Running::start(&mut command).wait(Duration::from_secs(240)).expect_code(0);
    for part in ["installed\n", "index template logs-calico.flow\n", "The numbers add up"] {
        assert!(ran.stdout.contains(part), "no {part:?} in\n{}\n{}", ran.stdout, ran.stderr);
    }
    let answer = ran.stdout.lines().last().expect("an answer");
    let answer: Value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let most = &answer["aggregations"]["rule"]["buckets"][0];
    assert!(most["doc_count"].as_u64() > Some(1) && most["key"].is_string(), "{answer}");
    server.ok(Method::DELETE, "/_data_stream/logs-calico.flow-default", None);
}
