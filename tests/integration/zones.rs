//! Zone files and what is said of them: every folder of `fixtures/zones` holds a `zones.yaml` and `expected.problems`;
//! where it holds `input.jsonl`, `expected.zones` names the zones of each line.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate::zone::Table;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zones");
    let mut cases: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 11, "{cases:?}");
    cases
}

/// `UPDATE_FIXTURES=1` writes instead of comparing.
fn golden(path: &Path, found: &str) {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{}; UPDATE_FIXTURES=1 rewrites it", path.display());
}

#[test]
fn every_problem_of_a_zone_file_is_told() {
    for case in cases() {
        let text = fs::read_to_string(case.join("zones.yaml")).unwrap();
        let problems = match Table::load(&text) {
            Ok((_, warnings)) => {
                assert!(warnings.iter().all(|problem| !problem.is_error()));
                warnings
            }
            Err(problems) => {
                assert!(problems.iter().any(tidegate::yaml::Problem::is_error));
                problems
            }
        };
        let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        golden(&case.join("expected.problems"), &lines);
    }
}
