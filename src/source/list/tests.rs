use std::io::Write as _;

use super::*;

fn flow(n: usize, end_time: i64) -> String {
    format!(r#"{{"start_time":1,"end_time":{end_time},"action":"allow","reporter":"src","n":{n}}}"#)
}

fn text(lines: std::ops::Range<usize>, end_time: i64) -> String {
    lines.map(|n| flow(n, end_time) + "\n").collect()
}

fn config() -> Config {
    Config { cluster: "c".into(), node: "n".into(), max_line: 2_000, rate: None, purpose: "p".into() }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            let path = folder.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn items(&self) -> Vec<Item> {
        find(&[self.0.path().to_path_buf()]).unwrap().items
    }

    fn progress(&self) -> Progress {
        Progress::new(self.path("progress.json"))
    }

    fn list(&self) -> FileList {
        FileList::open(config(), self.items(), Some(self.progress())).unwrap()
    }

    fn names(&self, items: &[Item]) -> Vec<String> {
        let name = |item: &Item| item.path.strip_prefix(self.0.path()).unwrap().to_str().unwrap().to_owned();
        items.iter().map(name).collect()
    }
}

/// All that is handed out, as file name, offset and line; and the mark after each chunk.
fn read(list: &mut FileList, chunks: usize) -> (Vec<(String, u64, String)>, Vec<Mark>) {
    let (mut lines, mut marks) = (Vec::new(), Vec::new());
    let mut chunk = Chunk::default();
    while marks.len() < chunks && list.next(&mut chunk) {
        let mut offset = chunk.offset;
        for line in chunk.bytes().split_inclusive(|byte| *byte == b'\n') {
            let name = chunk.path.rsplit('/').next().unwrap().to_owned();
            lines.push((name, offset, String::from_utf8(line.to_vec()).unwrap()));
            offset += line.len() as u64;
        }
        assert_eq!(chunk.before, Before::Unknown);
        marks.push(chunk.mark(chunk.bytes().len()));
    }
    (lines, marks)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_are_found_once_and_the_oldest_comes_first() {
    let old = text(0..1, 1_000);
    let folder = Folder::new(&[
        ("b/flows.log", text(0..1, 3_000).as_bytes()),
        ("a/flows-x.log.gz", &gzip(old.as_bytes())),
        ("a/flows.log.1", text(0..1, 2_000).as_bytes()),
        ("a/.hidden.log", old.as_bytes()),
        ("a/notes.txt", b"no log"),
    ]);
    std::os::unix::fs::symlink(folder.path("a"), folder.path("b/again")).unwrap();
    std::os::unix::fs::symlink(folder.path("b/flows.log"), folder.path("a/linked.log")).unwrap();
    std::fs::hard_link(folder.path("a/flows.log.1"), folder.path("b/hard.log")).unwrap();
    let paths = [folder.0.path().to_path_buf(), folder.path("a/flows.log.1")];
    let listing = find(&paths).unwrap();
    let names = folder.names(&listing.items);
    assert_eq!(names[0], "a/flows-x.log.gz");
    assert_eq!((names.len(), listing.others), (3, 2), "{names:?}: the link to a folder and the notes are left alone");
    let errors = find(&[folder.path("nowhere"), folder.path("a")]).unwrap_err();
    assert_eq!(errors[0].0, folder.path("nowhere"));
}

#[test]
fn lines_come_whole_with_their_offsets_whatever_the_packing_and_the_rate() {
    // More than one read, a line longer than the limit, one within it, blank ones, and half a line at the end.
    let mut all = text(0..5_000, 5);
    all.push_str(&format!("{}\n\n{}\n", "x".repeat(700_000), "y".repeat(1_999)));
    all.push_str(&text(5_000..5_100, 5));
    let whole = format!("{all}{{\"half");
    let expected: Vec<_> = {
        let mut offset = 0;
        let mut lines = Vec::new();
        for line in all.split_inclusive('\n') {
            if line.len() <= 2_001 {
                lines.push((offset, line.to_owned()));
            }
            offset += line.len() as u64;
        }
        lines
    };
    for (name, bytes) in [("f.log", whole.clone().into_bytes()), ("f.log.gz", gzip(whole.as_bytes()))] {
        for rate in [None, Some(1_000_000), Some(50_000)] {
            let folder = Folder::new(&[(name, &bytes)]);
            let mut list = FileList::open(Config { rate, ..config() }, folder.items(), None).unwrap();
            let (mut lines, mut skipped) = (Vec::new(), 0);
            let mut chunk = Chunk::default();
            let mut end = Mark { file: 0, offset: 0, tail: Tail::of(b"") };
            while list.next(&mut chunk) {
                let portion = rate.map_or(usize::MAX, |rate| (rate / PORTIONS) as usize);
                skipped += chunk.skipped_lines;
                let mut offset = chunk.offset;
                let count = lines.len();
                for line in chunk.bytes().split_inclusive(|byte| *byte == b'\n') {
                    lines.push((offset, String::from_utf8(line.to_vec()).unwrap()));
                    offset += line.len() as u64;
                }
                assert!(lines.len() - count <= portion);
                end = chunk.mark(chunk.bytes().len());
                assert_eq!(end.tail, Tail::of(&whole.as_bytes()[..end.offset as usize]), "{name} {rate:?}");
            }
            assert!(lines == expected, "{name} {rate:?}: {} of {} lines", lines.len(), expected.len());
            assert_eq!((skipped, end.offset), (1, all.len() as u64));
            assert_eq!(list.unterminated().len(), 1);
            let reading = list.reading();
            // Unpacked, whatever the packing.
            let (done, total) = (reading.done_bytes.load(Relaxed), reading.total_bytes);
            assert_eq!((done, total), (whole.len() as u64, whole.len() as u64), "{name} {rate:?}");
            assert_eq!(reading.disk_bytes, bytes.len() as u64);
        }
    }
}

/// As the live tail takes it: a hole may be larger than any line, and the line behind it is none that is too long.
#[test]
fn a_hole_is_no_part_of_the_line_behind_it() {
    for hole in [1, 1_999, 2_001, 300_000, READ, 3 * READ + 7] {
        let mut bytes = text(0..3, 5).into_bytes();
        let before = bytes.len();
        bytes.resize(before + hole, 0);
        bytes.extend(text(3..5, 5).into_bytes());
        // A file may end in one, too.
        bytes.resize(bytes.len() + hole, 0);
        for (name, bytes) in [("f.log", bytes.clone()), ("f.log.gz", gzip(&bytes))] {
            let folder = Folder::new(&[(name, &bytes)]);
            let (lines, marks) = read(&mut folder.list(), usize::MAX);
            let found: Vec<_> =
                lines.iter().map(|(_, at, line)| (*at as usize + filler(line.as_bytes()), line)).collect();
            let lines: String = found.iter().map(|(_, line)| line.trim_start_matches('\0')).collect();
            assert_eq!(lines, text(0..5, 5), "{name} {hole}");
            assert_eq!(found[3].0, before + hole, "{name} {hole}");
            // A run that starts at any of the marks reads what stands behind it.
            for mark in marks {
                let mut list = folder.list();
                read(&mut list, 1);
                list.settle(mark);
                list.persist(None).unwrap();
                let (rest, _) = read(&mut folder.list(), usize::MAX);
                assert_eq!(
                    rest.len(),
                    found.iter().filter(|(at, _)| *at as u64 >= mark.offset).count(),
                    "{name} {hole}"
                );
            }
        }
    }
}

#[test]
fn a_copy_is_read_on_where_its_original_ended() {
    let (short, long) = (text(0..10, 5), text(0..30, 5));
    let other = text(0..1, 5) + &text(50..60, 5);
    let folder = Folder::new(&[
        ("1.log", short.as_bytes()),
        ("2.log.gz", &gzip(long.as_bytes())),
        ("3.log", short.as_bytes()),
        ("4.log", other.as_bytes()),
    ]);
    // In this order, whatever the times of writing were.
    let mut items = folder.items();
    items.sort_by(|a, b| a.path.cmp(&b.path));
    let mut list = FileList::open(config(), items, None).unwrap();
    let (lines, _) = read(&mut list, usize::MAX);
    let count = |name: &str| lines.iter().filter(|(file, ..)| file == name).count();
    assert_eq!(["1.log", "2.log.gz", "3.log", "4.log"].map(count), [10, 20, 0, 11]);
    assert_eq!(lines[10].1, short.len() as u64);
}

#[test]
fn what_was_settled_is_not_read_again_and_what_was_not_is() {
    let folder = Folder::new(&[("1.log", text(0..10, 1).as_bytes()), ("2.log", text(10..20, 2).as_bytes())]);
    std::fs::write(folder.path("3.log"), text(20..30, 3)).unwrap();
    let mut list = folder.list();
    let (_, marks) = read(&mut list, 2);
    list.settle(marks[0]);
    list.persist(Some("the sink's")).unwrap();
    // A run that starts and is killed before it opened a file keeps what is noted.
    let mut killed = folder.list();
    assert_eq!(killed.memory(), Memory::Note(Some("the sink's".into())));
    killed.persist(None).unwrap();
    // The first file has been compressed meanwhile: it is known by what it holds.
    std::fs::write(folder.path("1.log.gz"), gzip(text(0..10, 1).as_bytes())).unwrap();
    std::fs::remove_file(folder.path("1.log")).unwrap();
    let mut next = folder.list();
    let (lines, marks) = read(&mut next, usize::MAX);
    assert_eq!(lines.len(), 20, "{lines:?}");
    assert_eq!((&*lines[0].0, &*lines[10].0), ("2.log", "3.log"));
    marks.iter().for_each(|mark| next.settle(*mark));
    next.persist(None).unwrap();
    assert_eq!(read(&mut folder.list(), usize::MAX).0, []);
    let other = Config { purpose: "q".into(), ..config() };
    let error = FileList::open(other, folder.items(), Some(folder.progress())).err().unwrap().to_string();
    assert!(error.contains("is of another run (p)"), "{error}");
}

#[test]
fn a_rewind_goes_back_to_what_is_settled_across_files() {
    let folder = Folder::new(&[
        ("1.log", text(0..10, 1).as_bytes()),
        ("2.log", text(10..20, 2).as_bytes()),
        ("3.log", text(20..30, 3).as_bytes()),
    ]);
    let mut list = FileList::open(Config { rate: Some(40), ..config() }, folder.items(), None).unwrap();
    let (first, marks) = read(&mut list, 7);
    assert_eq!((first.len(), &*first.last().unwrap().0), (24, "3.log"));
    list.settle(marks[0]);
    list.settle(marks[1]);
    list.rewind();
    let (second, _) = read(&mut list, usize::MAX);
    assert_eq!(second.len(), 22);
    assert_eq!(second[..16], first[8..]);
    assert_eq!(list.reading().files_done.load(Relaxed), 3);
}
