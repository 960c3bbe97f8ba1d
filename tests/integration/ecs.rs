//! The documents: held against the field table, the official field list, and the golden files.
//!
//! `UPDATE_FIXTURES=1 cargo test --test integration ecs::` writes the templates, the page and the golden files anew.

mod golden;
mod official;
mod table;
mod templates;

use std::path::Path;

use crate::support;

/// Fails where the file does not hold `text`; writes it instead when `UPDATE_FIXTURES=1`.
#[track_caller]
fn assert_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a writable file");
        return;
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    for (number, (there, made)) in there.lines().zip(text.lines()).enumerate() {
        assert!(
            there == made,
            "{}:{} is\n{there}\nand should be\n{made}\nwrite it anew with UPDATE_FIXTURES=1, and read the difference",
            path.display(),
            number + 1
        );
    }
    assert!(
        there == text,
        "{} has {} lines and should have {}; write it anew with UPDATE_FIXTURES=1",
        path.display(),
        there.lines().count(),
        text.lines().count()
    );
}

fn in_repository(path: &str) -> std::path::PathBuf {
    support::root().join(path)
}
