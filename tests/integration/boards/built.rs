//! What `deploy/` holds is what the pages give. `UPDATE_FIXTURES=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use tidegate::setup::boards;
use tidegate::setup::boards::source::Sources;

use crate::support::root;

#[track_caller]
pub fn assert_file(path: &str, text: &str) {
    let path: &Path = &root().join(path);
    if std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a writable file");
        return;
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    let line = there.lines().zip(text.lines()).position(|(there, made)| there != made);
    assert!(
        there == text,
        "{} differs (line {line:?}); write it anew with UPDATE_FIXTURES=1, and read the difference",
        path.display()
    );
}

#[test]
fn what_is_imported() {
    for (path, text) in boards::files() {
        assert_file(&format!("deploy/{path}"), &text);
    }
}

/// The part of the page that the sources give: one row a panel.
fn questions() -> String {
    let sources = Sources::shipped();
    let mut out = String::new();
    for board in &sources.boards {
        let _ = write!(out, "\n### {}\n\n{}\n\n", board.nav, board.description);
        let _ = write!(
            out,
            "![{}](boards/{}.svg)\n\n| panel | the question it answers |\n|---|---|\n",
            board.nav, board.id
        );
        for panel in &board.panels {
            let _ = writeln!(out, "| {} | {} |", panel.title, panel.question);
        }
    }
    out
}

#[test]
fn the_page_lists_every_question() {
    const BEGIN: &str = "<!-- built from mappings/kibana/boards: begin -->\n";
    const END: &str = "\n<!-- built from mappings/kibana/boards: end -->";
    let path = "deploy/docs/dashboards.md";
    let page = std::fs::read_to_string(root().join(path)).expect("the page");
    let (head, rest) = page.split_once(BEGIN).expect("the mark of its begin");
    let (_, tail) = rest.split_once(END).expect("the mark of its end");
    assert_file(path, &format!("{head}{BEGIN}{}{END}{tail}", questions()));
}
