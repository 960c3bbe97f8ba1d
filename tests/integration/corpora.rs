//! Every file of the fuzzers' corpora through its target.

use crate::fuzz_targets::TARGETS;
use crate::support::root;

#[test]
fn every_file_of_the_corpora_keeps_the_promises() {
    for (name, target) in TARGETS {
        let folder = root().join("tests/fuzz/corpus").join(name);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for file in files.map(|file| file.expect("an entry").path()) {
            let data = std::fs::read(&file).expect("a file");
            let result = std::panic::catch_unwind(|| target(&data));
            assert!(result.is_ok(), "{} breaks a promise; the panic above says which", file.display());
            count += 1;
        }
        assert!(count > 3, "{name} has a corpus");
    }
}
