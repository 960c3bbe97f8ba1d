use super::*;
use crate::durable::faults::{Fault, Faults, all as every_fault};
use crate::durable::{FILE_MODE, Step};
use rustix::io::Errno;
use std::os::unix::fs::PermissionsExt as _;

fn letter(n: u32, document: &str) -> Letter {
    Letter {
        id: format!("id-{n}"),
        index: Some(".ds-x".into()),
        status: 400,
        kind: "document_parsing_exception".into(),
        reason: "why\"not\"".into(),
        document: document.as_bytes().to_vec(),
    }
}

fn dead_letter(max_size: u64, when_full: WhenFull) -> (tempfile::TempDir, DeadLetter) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dead-letter/elasticsearch");
    let config = Config { dir, lane: "elasticsearch".into(), max_size, when_full };
    (folder, DeadLetter::new(config))
}

fn kept(letters: &DeadLetter) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    for segment in letters.segments().unwrap() {
        let text = std::fs::read_to_string(segment.path).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    lines
}

fn ids(letters: &DeadLetter) -> Vec<String> {
    kept(letters).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_letter_says_what_who_and_why() {
    let document = r#"{"agent":{"name":"n1"},"log":{"file":{"path":"/f"}},"orchestrator":{"cluster":{"name":"c"}},"calico":{"log":{"offset":7}}}"#;
    let line = line::write(&letter(1, document), "elasticsearch", jiff::Timestamp::UNIX_EPOCH);
    let read = read_line(line.strip_suffix(b"\n").unwrap()).unwrap();
    let origin =
        Origin { cluster: Some("c".into()), node: Some("n1".into()), path: Some("/f".into()), offset: Some(7) };
    assert_eq!((read.origin.as_ref(), read.sendable()), (Some(&origin), Some(document)), "as it was, byte for byte");
    assert_eq!(&read.time, "1970-01-01T00:00:00.000Z");

    let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
    let written = letters.write(&[letter(1, "{\"a\":[1,\"é\"]}"), letter(2, "not json\n")]).unwrap();
    assert_eq!(written, Written { kept: 2, ..Written::default() });
    let lines = kept(&letters);
    let time = lines[0]["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    let mut line = lines[0].clone();
    line.as_object_mut().unwrap().remove("time");
    let expected = serde_json::json!({
        "lane": "elasticsearch", "id": "id-1", "index": ".ds-x", "status": 400,
        "type": "document_parsing_exception", "reason": "why\"not\"", "document": {"a": [1, "é"]},
    });
    assert_eq!(line, expected);
    assert_eq!(lines[1]["document"], "not json\n");
    let mode = std::fs::metadata(letters.path(1)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, FILE_MODE);
}

#[test]
fn a_full_one_refuses_whole_writes_until_there_is_room() {
    let (_folder, mut letters) = dead_letter(2_000, WhenFull::Hold);
    let mut count = 0;
    while letters.write(&[letter(count, "{}")]).is_ok() {
        count += 1;
    }
    assert!(count > 3, "{count}");
    let size = letters.size().unwrap();
    assert!(size <= 2_000);
    let error = letters.write(&[letter(90, "{}"), letter(91, "{}")]).unwrap_err();
    assert!(matches!(error, DeadLetterError::Full { .. }), "{error}");
    assert_eq!(letters.size().unwrap(), size, "nothing of it was written");
    // Somebody moves a file away while we run.
    std::fs::remove_file(&letters.segments().unwrap()[0].path).unwrap();
    letters.write(&[letter(92, "{}")]).unwrap();
    assert_eq!(ids(&letters).last().map(String::as_str), Some("id-92"));
    assert!(letters.write(&[letter(93, &format!("\"{}\"", "x".repeat(3_000)))]).is_err(), "never fits: held");
}

#[test]
fn drop_oldest_keeps_the_newest_within_the_bound() {
    let (_folder, mut letters) = dead_letter(2_000, WhenFull::DropOldest);
    let (mut evicted, mut bytes) = (0, 0);
    for n in 0..50 {
        let written = letters.write(&[letter(n, "{}")]).unwrap();
        assert_eq!((written.kept, written.dropped), (1, 0));
        evicted += written.evicted_letters;
        bytes += written.evicted_bytes;
        assert!(letters.size().unwrap() <= 2_000);
    }
    assert!(bytes > 0);
    let ids = ids(&letters);
    assert_eq!(evicted as usize + ids.len(), 50, "what was written stands there, or gave way and is counted");
    assert!(ids.len() > 3);
    let expected: Vec<_> = (50 - ids.len()..50).map(|n| format!("id-{n}")).collect();
    assert_eq!(ids, expected);
    let huge = letter(99, &format!("\"{}\"", "x".repeat(3_000)));
    assert_eq!(letters.write(&[huge]).unwrap().dropped, 1);
}

#[test]
fn a_new_process_goes_on_in_a_new_file() {
    let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
    letters.write(&[letter(1, "{}")]).unwrap();
    let mut again = DeadLetter::new(letters.config().clone());
    again.write(&[letter(2, "{}")]).unwrap();
    assert_eq!(ids(&again), ["id-1", "id-2"]);
    assert_eq!(again.segments().unwrap().len(), 2);
}

#[test]
fn a_file_that_was_taken_away_is_not_written_on() {
    let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
    letters.write(&[letter(1, "{}")]).unwrap();
    std::fs::remove_dir_all(&letters.config().dir).unwrap();
    letters.write(&[letter(2, "{}")]).unwrap();
    assert_eq!(ids(&letters), ["id-2"]);
}

#[test]
fn an_unusable_folder_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = Config { dir: file.join("x"), lane: "l".into(), max_size: 1000, when_full: WhenFull::Hold };
    let error = DeadLetter::new(config).write(&[letter(1, "{}")]).unwrap_err();
    assert!(error.to_string().contains("file/x"), "{error}");
}

/// What `write` gives, whether all or nothing of the batch stands there, and that what stood there before still does.
fn check_fault(step: usize, fault: Fault, when_full: WhenFull) -> bool {
    let (_folder, mut before) = dead_letter(2_000, when_full);
    before.write(&[letter(1, "{}"), letter(2, "{}")]).unwrap();
    let faults = Faults::none();
    let mut letters = DeadLetter::on(before.config().clone(), Disk::with(faults.clone()));
    // The file is open and has something in it when the fault comes; the batch needs two more files.
    letters.write(&[letter(3, "{}")]).unwrap();
    let first = faults.seen();
    faults.strike_after(step, fault);
    let batch: Vec<_> = (10..14).map(|n| letter(n, "{}")).collect();
    let old = ids(&letters);
    let result = letters.write(&batch);
    let steps = faults.steps().split_off(first);
    if steps.len() <= step {
        result.unwrap();
        return false;
    }
    let case = format!("{fault:?} at {step} of {steps:?}");
    let now = stored(&letters);
    let new: Vec<_> = (10..14).map(|n| format!("id-{n}")).collect();
    match &result {
        Ok(written) => {
            assert_eq!(now.0, [&old[..], &new[..]].concat(), "{case}");
            assert_eq!(written.kept, 4, "{case}");
            assert_eq!(steps.iter().rev().find(|s| matches!(s, Step::Write | Step::Sync)), Some(&Step::Sync), "{case}");
        }
        // A crash may leave a part of a batch that nobody was told is written; what stood there stands.
        Err(_) if fault.is_crash() => {
            assert_eq!(now.0[..old.len()], old, "{case}");
            assert!(new.starts_with(&now.0[old.len()..]), "{case}: {now:?}");
        }
        Err(error) => {
            assert_eq!(now, (old.clone(), 0), "{case}: {error}");
            // And the next try has it.
            letters.write(&batch).unwrap();
            assert_eq!(ids(&letters), [&old[..], &new[..]].concat(), "{case}");
        }
    }
    // Whoever comes after a crash writes on in another file, and nothing that is whole is lost.
    let mut next = DeadLetter::new(letters.config().clone());
    let half = stored(&next).1;
    next.write(&[letter(99, "{}")]).unwrap();
    let (ids, halves) = stored(&next);
    assert_eq!((ids.last().map(String::as_str), halves), (Some("id-99"), half), "{case}");
    true
}

/// Ids of whole letters, and how many half lines there are.
fn stored(letters: &DeadLetter) -> (Vec<String>, u64) {
    let (mut ids, mut halves) = (Vec::new(), 0);
    for segment in letters.segments().unwrap() {
        lines(&File::open(segment.path).unwrap(), u64::MAX, |_, _, found| {
            match found {
                Found::Letter(letter) => ids.push(letter.id.into_owned()),
                Found::Half => halves += 1,
                Found::Damaged => panic!("a whole line that is no letter"),
            }
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
    }
    (ids, halves)
}

#[test]
fn whatever_step_fails_the_old_letters_or_the_new_ones_stand_there() {
    for fault in every_fault() {
        let mut step = 0;
        while check_fault(step, fault, WhenFull::Hold) {
            step += 1;
        }
        assert!(step > 8, "the batch takes several files: {step} steps");
    }
}

#[test]
fn the_first_write_makes_its_folder_or_says_why_not() {
    let errors = [Errno::NOSPC, Errno::IO, Errno::ACCESS];
    for (step, errno) in (0..9).flat_map(|step| errors.map(|errno| (step, errno))) {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("state/dead-letter/l");
        let config = Config { dir, lane: "l".into(), max_size: 1_000, when_full: WhenFull::Hold };
        let faults = Faults::nth(step, Fault::Error(errno));
        let mut letters = DeadLetter::on(config, Disk::with(faults.clone()));
        let first = letters.write(&[letter(1, "{}")]);
        assert_eq!(first.is_err(), faults.seen() > step, "{step} {:?}", faults.steps());
        if first.is_err() {
            assert!(ids(&letters).is_empty(), "step {step}");
            letters.write(&[letter(1, "{}")]).unwrap();
        }
        assert_eq!(ids(&letters), ["id-1"], "step {step}");
    }
}

#[test]
fn evicted_letters_are_told_even_if_the_write_that_evicted_them_failed() {
    let (_folder, mut letters) = dead_letter(1_000, WhenFull::DropOldest);
    let mut written = 0;
    while letters.size().unwrap() < 850 {
        letters.write(&[letter(written, "{}")]).unwrap();
        written += 1;
    }
    let faults = Faults::none();
    let mut faulty = DeadLetter::on(letters.config().clone(), Disk::with(faults.clone()));
    // The first step removes the oldest file, the second would begin a new one.
    faults.strike_after(1, Fault::Error(Errno::NOSPC));
    faulty.write(&[letter(90, "{}")]).unwrap_err();
    assert_eq!(faults.steps()[..2], [Step::Remove, Step::Create]);
    let evicted = faulty.write(&[letter(91, "{}")]).unwrap().evicted_letters;
    assert_eq!(evicted as usize + ids(&faulty).len(), written as usize + 1);
}

#[test]
fn half_lines_and_damage_are_told_from_letters() {
    let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
    letters.write(&[letter(1, "{}")]).unwrap();
    let path = letters.path(1);
    let whole = std::fs::read(&path).unwrap();
    for (text, expected) in [
        (whole.clone(), (1, 0, 0)),
        ([&whole[..], &whole[..40]].concat(), (1, 0, 1)),
        ([&whole[..], &[0; 30]].concat(), (1, 0, 1)),
        ([&b"nothing of ours\n"[..], &whole].concat(), (1, 1, 0)),
        (whole[..whole.len() - 1].to_vec(), (0, 0, 1)),
        (Vec::new(), (0, 0, 0)),
    ] {
        std::fs::write(&path, &text).unwrap();
        let mut counts = (0, 0, 0);
        let mut next = 0;
        lines(&File::open(&path).unwrap(), u64::MAX, |offset, line, found| {
            assert_eq!(offset, next);
            next += line.len() as u64;
            match found {
                Found::Letter(_) => counts.0 += 1,
                Found::Damaged => counts.1 += 1,
                Found::Half => counts.2 += 1,
            }
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
        assert_eq!((counts, next), (expected, text.len() as u64));
    }
}

fn rewriting(letters: &DeadLetter, disk: Disk) -> Rewriting {
    let segment = letters.segments().unwrap().remove(0);
    Rewriting::open_on(&letters.config().dir, &segment, disk).unwrap().unwrap()
}

#[test]
fn letters_are_taken_out_and_changed_while_the_writer_goes_on() {
    let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
    letters.write(&[letter(1, "{}"), letter(2, "{}"), letter(3, "{}")]).unwrap();
    let mut file = rewriting(&letters, Disk::default());
    // Written into the same file after it was opened, and so not to be decided.
    letters.write(&[letter(4, "{}")]).unwrap();
    let other = line::write(&letter(30, "{}"), "elasticsearch", jiff::Timestamp::now());
    let decide = |_: u64, letter: &Line<'_>| match &*letter.id {
        "id-1" => Fate::Gone,
        "id-3" => Fate::Instead(&other),
        _ => Fate::Keep,
    };
    assert!(file.replace(decide).unwrap());
    assert_eq!(ids(&letters), ["id-2", "id-30", "id-4"]);
    let mode = std::fs::metadata(letters.path(1)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, FILE_MODE);
    // The writer notices that its file is another's now.
    letters.write(&[letter(5, "{}")]).unwrap();
    assert_eq!(letters.segments().unwrap().len(), 2);
    assert!(file.replace(|_, letter| if letter.id == "id-4" { Fate::Keep } else { Fate::Gone }).unwrap());
    assert_eq!(ids(&letters), ["id-4", "id-5"], "what came later is not decided");
    // Nothing left: the file goes, and whoever took it away meanwhile is obeyed.
    let mut second = {
        let segment = letters.segments().unwrap().remove(1);
        Rewriting::open(&letters.config().dir, &segment).unwrap().unwrap()
    };
    assert!(second.replace(|_, _| Fate::Gone).unwrap());
    assert_eq!(ids(&letters), ["id-4"]);
    assert!(!second.replace(|_, _| Fate::Keep).unwrap());
    assert_eq!(letters.segments().unwrap().len(), 1);
}

#[test]
fn whatever_step_of_a_rewrite_fails_the_old_letters_or_the_new_ones_stand_there() {
    for fault in every_fault() {
        for (all, step) in (0..8).flat_map(|step| [(false, step), (true, step)]) {
            let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
            letters.write(&[letter(1, "{}"), letter(2, "{}")]).unwrap();
            let faults = Faults::nth(step, fault);
            let mut file = rewriting(&letters, Disk::with(faults.clone()));
            let decide = |_: u64, letter: &Line<'_>| if all || letter.id == "id-1" { Fate::Gone } else { Fate::Keep };
            let result = file.replace(decide);
            let case = format!("{fault:?} at {step} of {:?}: {result:?}", faults.steps());
            let (old, new): (&[&str], &[&str]) = (&["id-1", "id-2"], if all { &[] } else { &["id-2"] });
            let now = ids(&letters);
            match result {
                Ok(replaced) => assert!(replaced && now == new, "{case}"),
                Err(_) => assert!(now == old || now == new, "{case}: {now:?}"),
            }
            // The next one is not held up by what was left behind.
            if let Some(segment) = letters.segments().unwrap().first() {
                let mut again = Rewriting::open(&letters.config().dir, segment).unwrap().unwrap();
                assert!(again.replace(decide).unwrap(), "{case}");
            }
            assert_eq!(ids(&letters), new, "{case}");
        }
    }
}

#[test]
fn a_writer_that_cannot_have_the_lock_says_so() {
    let (_folder, mut letters) = dead_letter(MAX_SIZE, WhenFull::Hold);
    letters.write(&[letter(1, "{}")]).unwrap();
    let held = Lock::take(&letters.config().dir).unwrap();
    let path = beside(&letters.config().dir, "lock");
    assert_eq!(Lock::try_take(&path).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(held);
    Lock::try_take(&path).unwrap();
}
