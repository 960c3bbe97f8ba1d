//! Zone files and what is said of them: every folder of `fixtures/zones` holds a `zones.yaml` and `expected.problems`;
//! where it holds `input.jsonl`, `expected.zones` names the zones of each line.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate::decode::calico::decode;
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

#[test]
fn every_flow_of_a_fixture_is_in_its_zones() {
    let mut seen = 0;
    for case in cases() {
        let Ok(input) = fs::read(case.join("input.jsonl")) else { continue };
        let text = fs::read_to_string(case.join("zones.yaml")).unwrap();
        let (table, _) = Table::load(&text).unwrap_or_else(|problems| panic!("{}: {problems:?}", case.display()));
        let mut lines = String::new();
        for line in input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let mut scratch = String::new();
            let flow = decode(line, &mut scratch).unwrap();
            let (zones, explained) = (table.classify(&flow), table.explain(&flow));
            assert_eq!((explained.source.zone, explained.destination.zone), (zones.source, zones.dest));
            let (source, dest) = (explained.source.end, explained.destination.end);
            let cross = if zones.is_cross(false) { "cross-zone" } else { "not cross-zone" };
            lines += &format!("{} -> {}: {cross} ({source} -> {dest})\n", zones.source, zones.dest);
            seen += 1;
        }
        golden(&case.join("expected.zones"), &lines);
    }
    assert!(seen > 0);
}

/// What is told and what is done come from one table, so they may not differ for any line and any table there is.
#[test]
fn explanations_agree_with_classification() {
    let tables: Vec<Table> = cases()
        .iter()
        .filter_map(|case| Table::load(&fs::read_to_string(case.join("zones.yaml")).unwrap()).ok())
        .map(|(table, _)| table)
        .collect();
    let flows = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/flows");
    let mut seen = 0;
    for entry in fs::read_dir(flows).unwrap() {
        let Ok(input) = fs::read(entry.unwrap().path().join("input.jsonl")) else { continue };
        for line in input.split(|byte| *byte == b'\n') {
            let mut scratch = String::new();
            let Ok(flow) = decode(line, &mut scratch) else { continue };
            for table in &tables {
                let (zones, explained) = (table.classify(&flow), table.explain(&flow));
                assert_eq!((explained.source.zone, explained.destination.zone), (zones.source, zones.dest), "{flow:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 200, "{seen}");
}

/// The page for users must not teach what does not load.
#[test]
fn every_zone_list_of_the_page_loads() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/docs/zones.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lists: Vec<&str> = blocks.filter(|block| block.contains("zones:\n")).collect();
    assert!(lists.len() >= 5, "{lists:?}");
    for block in lists {
        let header = if block.contains("apiVersion") { "" } else { "apiVersion: zones/v1\n" };
        match Table::load(&format!("{header}{block}")) {
            Ok((_, warnings)) => assert_eq!(warnings, [], "{block}"),
            Err(problems) => panic!("{block}\n{problems:#?}"),
        }
    }
}
