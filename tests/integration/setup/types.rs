//! What no server here can run (lifecycle, transforms, pipelines, roles, keys, complete templates), checked against the
//! request types of the official clients: everything that is exported, for every choice.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::support::{root, run, run_command, temp_dir, went_without};

/// The folder with the packages, or why there is none.
static PACKAGES: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let output = Command::new(root().join("tests/setup/get-types")).output().map_err(|error| error.to_string())?;
    match String::from_utf8_lossy(&output.stdout).lines().last() {
        Some(folder) if output.status.success() => Ok(PathBuf::from(folder)),
        _ => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
});

/// What the compiler says of these exports; nothing when they fit. `None` when it cannot be had here.
fn check(folders: &[&Path]) -> Option<String> {
    let packages = match &*PACKAGES {
        Ok(folder) => folder,
        Err(why) => {
            went_without("the clients' types", why);
            return None;
        }
    };
    let mut command = Command::new(root().join("tests/setup/check-types"));
    let ran = run_command(command.arg(packages).args(folders), "");
    assert!(matches!(ran.code(), Some(0 | 1)), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code() == Some(0), ran.stdout.is_empty(), "{}", ran.stdout);
    Some(ran.stdout)
}

#[test]
fn every_choice_fits_the_clients_types() {
    let dir = temp_dir();
    let frozen = dir.path().join("frozen.yaml");
    let config = "sinks:\n  elasticsearch:\n    hosts: [http://es:9200]\n    setup: {warm: 2d, cold: 7d, frozen: {after: 14d, repository: flows}}\n";
    std::fs::write(&frozen, config).expect("a file");
    let frozen = frozen.to_str().expect("UTF-8");
    let choices: [&[&str]; 7] = [
        &["--history", "365d"],
        &["--config", frozen, "--retention", "90d"],
        &["--lifecycle", "data_stream", "--retention", "36h", "--history", "30d"],
        &["--lifecycle", "none", "--codec", "default", "--failure-store", "false"],
        &["--index-mode", "logsdb", "--for", "elasticsearch@8.19"],
        &["--for", "opensearch", "--history", "365d"],
        &["--for", "opensearch@2.19", "--lifecycle", "none"],
    ];
    let folders: Vec<PathBuf> = (0..choices.len()).map(|number| dir.path().join(number.to_string())).collect();
    for (folder, choice) in folders.iter().zip(choices) {
        let mut args = vec!["setup", "--export", folder.to_str().expect("UTF-8")];
        args.extend(choice);
        run(&args, "").expect_code(0);
    }
    let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    if let Some(faults) = check(&folders) {
        assert_eq!(faults, "");
    }
}

/// One mistake in each kind of file, and each is seen.
#[test]
fn a_mistake_of_each_kind_is_seen() {
    let dir = temp_dir();
    for (file, body) in [
        ("01-lifecycle-policy-x.json", r#"{"policy":{"phases":{"hot":{"actions":{"rollover":{"max_agee":"1d"}}}}}}"#),
        ("02-index-state-policy-x.json", r#"{"policy":{"states":[{"nam":"hot"}]}}"#),
        ("03-ingest-pipeline-x.json", r#"{"processors":[{"date_index_name":{"field":"a"}}]}"#),
        ("04-component-template-x.json", r#"{"template":{"mappings":{"properties":{"a":{"type":"keywordd"}}}}}"#),
        ("05-index-template-x.json", r#"{"index_patterns":["a"],"data_streamm":{}}"#),
        ("06-transform-x.json", r#"{"source":{"index":"a"},"dest":{"index":"b"},"pivott":{}}"#),
        ("07-role-x.json", r#"{"clusters":["monitor"]}"#),
        ("08-api-key-x.json", r#"{"role_descriptors":{"x":{"indices":[{"name":["a"],"privileges":["read"]}]}}}"#),
    ] {
        std::fs::write(dir.path().join(file), body).expect("a file");
    }
    let Some(faults) = check(&[dir.path()]) else { return };
    for part in ["max_agee", "\"nam\"", "date_rounding", "keywordd", "data_streamm", "pivott", "clusters", "\"name\""] {
        assert!(faults.contains(part), "{part} in {faults}");
    }
}
