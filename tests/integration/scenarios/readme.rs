//! The tables in `fixtures/tail/README.md` and `fixtures/sink/README.md`: made from the scripts and from the words they may
//! use, so that they cannot drift. `UPDATE_FIXTURES=1` writes them anew.

use std::fmt::Write as _;

use super::cases;
use super::script::{FACTS, HEAD, STEPS};
use crate::support::data_stream::FAULTS;
use crate::support::root;

/// What stands between the two marks of a README is ours.
const BEGIN: &str = "<!-- made by tests/integration/scenarios/readme.rs -->\n";
const END: &str = "<!-- end -->\n";

fn list(area: &str) -> String {
    let mut text = "| case | what is shown | from |\n|---|---|---|\n".to_owned();
    for case in cases(area) {
        let needs = case.script.needs.as_ref().map_or(String::new(), |needs| format!(" (needs {needs})"));
        let _ = writeln!(text, "| `{}` | {}{needs} | {} |", case.name, case.script.about, case.script.from);
    }
    text
}

fn words() -> String {
    let mut text = String::new();
    let mut table = |title: &str, rows: Vec<(String, &str)>| {
        let _ = writeln!(text, "| {title} | |\n|---|---|");
        for (word, meaning) in rows {
            let _ = writeln!(text, "| `{}` | {} |", word.trim_end(), meaning.replace('|', "\\|"));
        }
        text.push('\n');
    };
    table("head", HEAD.iter().map(|(key, meaning)| (format!("{key}:"), *meaning)).collect());
    table("step", STEPS.iter().map(|(verb, usage, meaning)| (format!("{verb} {usage}"), *meaning)).collect());
    table(
        "fact, for `wait` and `expect`",
        FACTS.iter().map(|(fact, _, meaning)| (fact.to_string(), *meaning)).collect(),
    );
    table("fault, for `answer`", FAULTS.iter().map(|(fault, meaning)| (fault.to_string(), *meaning)).collect());
    text
}

fn check(area: &str, body: &str) {
    let path = root().join("fixtures").join(area).join("README.md");
    let text = std::fs::read_to_string(&path).expect("a README");
    let (before, rest) = text.split_once(BEGIN).expect("the mark of its beginning");
    let (_, after) = rest.split_once(END).expect("the mark of its end");
    let new = format!("{before}{BEGIN}{body}{END}{after}");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, new).expect("a README");
    } else {
        assert!(text == new, "{} is not what the scripts say; UPDATE_FIXTURES=1 writes it anew", path.display());
    }
}

#[test]
fn the_tables_say_what_the_scripts_say() {
    check("tail", &format!("{}\n## Words\n\n{}", list("tail"), words()));
    check("sink", &list("sink"));
}
