//! Which files a source names: a live file with its rotated siblings, or a glob.
//!
//! Names are bytes: a file whose name is not UTF-8 is read like any other.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Names of a directory come from the kernel in pieces of this size.
const LISTING_BUFFER: usize = 32 << 10;

/// How a file's bytes lie on the disk, judged by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Absolute glob patterns, a directory and a name each.
#[derive(Debug, Clone)]
pub struct Patterns(Vec<PathBuf>);

impl Patterns {
    /// `path` is a file or a glob. A file without wildcards stands for itself and its rotated siblings (`flows.log`:
    /// also `flows-*.log`, `flows.log.*` and both as `.gz` and `.zst`), unless `rotated` names other ones, absolute
    /// as the path is. A glob stands for exactly what it matches.
    pub fn new(path: &Path, rotated: Option<&[String]>) -> Self {
        let mut all = vec![path.to_path_buf()];
        let directory = path.parent().unwrap_or(Path::new("/"));
        match rotated {
            Some(patterns) => all.extend(patterns.iter().map(PathBuf::from)),
            None if is_glob(path.as_os_str()) => {}
            None => all.extend(siblings(path).map(|name| directory.join(name))),
        }
        Self(all)
    }

    /// The directories in which a file could appear (true), and those above them, for they may appear late.
    pub fn directories(&self) -> BTreeMap<PathBuf, bool> {
        let above = self.0.iter().filter_map(|pattern| pattern.parent()?.parent());
        let mut all: BTreeMap<_, _> =
            above.filter(|path| !is_glob(path.as_os_str())).map(|path| (path.to_path_buf(), false)).collect();
        all.extend(self.places().into_iter().map(|(path, names)| (path, !names.is_empty())));
        all
    }

    /// Every directory in which a file could appear now, with the patterns of its files' names. One that only leads to
    /// others has none.
    pub fn places(&self) -> BTreeMap<PathBuf, Vec<&OsStr>> {
        let mut all: BTreeMap<PathBuf, Vec<&OsStr>> = BTreeMap::new();
        for pattern in &self.0 {
            let (Some(parent), Some(name)) = (pattern.parent(), pattern.file_name()) else { continue };
            let mut on_the_way = Vec::new();
            for place in expand(parent, &mut on_the_way) {
                all.entry(place).or_default().push(name);
            }
            for directory in on_the_way {
                all.entry(directory).or_default();
            }
        }
        all
    }
}

/// Lists a directory once for all patterns and gives each name that matches to `take`, in no order, and whether the
/// directory itself says that it is a regular file. A name without a wildcard always comes, whether it is there or not.
pub fn names(directory: &Path, patterns: &[&OsStr], mut take: impl FnMut(&OsStr, bool)) -> io::Result<()> {
    use rustix::fs::{FileType, Mode, OFlags, RawDir};
    let (globs, literal): (Vec<&OsStr>, Vec<&OsStr>) = patterns.iter().partition(|pattern| is_glob(pattern));
    literal.iter().for_each(|name| take(name, false));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    if globs.is_empty() {
        return Ok(());
    }
    let globs: Vec<_> = globs.into_iter().map(|glob| Glob::new(glob.as_bytes())).collect();
    let mut buffer = Vec::with_capacity(LISTING_BUFFER);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if globs.iter().any(|glob| glob.matches(name.as_bytes())) && !literal.contains(&name) {
            take(name, entry.file_type() == FileType::RegularFile);
        }
    }
    Ok(())
}

/// A pattern of a name.
enum Glob<'a> {
    /// One star between two texts, as nearly all are.
    Around(&'a [u8], &'a [u8]),
    Any(&'a [u8]),
}

impl<'a> Glob<'a> {
    fn new(pattern: &'a [u8]) -> Self {
        let plain =
            |text: &[u8]| !text.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'\\' | b'!'));
        match memchr::memchr(b'*', pattern).map(|star| (&pattern[..star], &pattern[star + 1..])) {
            Some((start, end)) if plain(start) && plain(end) => Self::Around(start, end),
            _ => Self::Any(pattern),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Around(start, end) => name.strip_prefix(*start).is_some_and(|rest| rest.ends_with(end)),
            Self::Any(pattern) => fast_glob::glob_match(pattern, name),
        }
    }
}

/// By the file's name alone: `.gz` is gzip, `.zst` is Zstandard.
pub fn packing(path: &Path) -> Packing {
    // Not by `Path::extension`: it takes the whole path apart, and every file is asked several times at a start.
    let path = path.as_os_str().as_bytes();
    let ends = |ending| path.strip_suffix(ending).is_some_and(|stem| !matches!(stem, [] | [.., b'/']));
    match () {
        () if ends(b".gz".as_slice()) => Packing::Gzip,
        () if ends(b".zst") => Packing::Zstd,
        () => Packing::Plain,
    }
}

pub fn is_glob(text: &OsStr) -> bool {
    text.as_bytes().iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'{'))
}

/// `flows.log` → `flows-*.log`, `flows-*.log.gz`, `flows-*.log.zst`, `flows.log.*`.
fn siblings(path: &Path) -> impl Iterator<Item = OsString> {
    let part = |p: Option<&OsStr>| p.map(|p| p.as_bytes().to_vec()).unwrap_or_default();
    let (name, stem, extension) = (part(path.file_name()), part(path.file_stem()), part(path.extension()));
    let mut dated = [&escape(&stem)[..], b"-*"].concat();
    if !extension.is_empty() {
        dated.push(b'.');
        dated.extend(escape(&extension));
    }
    let packed = [&b".gz"[..], b".zst"].map(|ending| [&dated[..], ending].concat());
    let numbered = [&escape(&name)[..], b".*"].concat();
    [dated, numbered].into_iter().chain(packed).map(OsString::from_vec)
}

fn escape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

/// Walks the pattern of a directory component by component; only directories on its way are listed.
fn expand(pattern: &Path, on_the_way: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::new()];
    for component in pattern.components() {
        match component {
            Component::Normal(name) if is_glob(name) => {
                on_the_way.extend(places.iter().cloned());
                places = places.iter().flat_map(|p| matching(p, name)).collect();
            }
            _ => places.iter_mut().for_each(|p| p.push(component)),
        }
    }
    places
}

/// A directory that cannot be listed has no matches: it may appear, or be opened to us, later.
fn matching(directory: &Path, pattern: &OsStr) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| fast_glob::glob_match(pattern.as_bytes(), name.as_bytes()))
        .map(|name| directory.join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], pattern: &str, rotated: Option<&[String]>, expected: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let mut found = Vec::new();
        let absolute = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
        let rotated: Option<Vec<_>> = rotated.map(|names| names.iter().map(|name| absolute(name)).collect());
        for (place, patterns) in Patterns::new(&dir.path().join(pattern), rotated.as_deref()).places() {
            let mut inside = Vec::new();
            super::names(&place, &patterns, |name, _| inside.push(name.to_os_string())).unwrap();
            inside.sort_unstable();
            let files = inside.iter().map(|name| place.join(name)).filter(|file| file.exists());
            found.extend(files.map(|f| f.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned()));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn a_live_file_brings_its_siblings() {
        let names = [
            "flows.log",
            "flows-2026-01-02T03-04-05.000.log",
            "flows-2026.log.gz",
            "flows-2026.log.zst",
            "flows.log.1",
            "flows.log.2.gz",
            "flows.log.3.zst",
        ];
        let mut expected = names.to_vec();
        expected.sort_unstable();
        let strangers = ["flows.txt", "myflows.log", "flowsx.log", "dns.log"];
        check(&[&names[..], &strangers].concat(), "flows.log", None, &expected);
        check(&["flows.log", "flows.log.1", "old.log"], "flows.log", Some(&["old*".into()]), &["flows.log", "old.log"]);
    }

    #[test]
    fn a_glob_takes_exactly_what_it_names() {
        check(&["flows.log", "flows.log.1"], "flow?.log", None, &["flows.log"]);
        check(&["a/x.log", "b/x.log", "b/y.txt"], "*/*.log", None, &["a/x.log", "b/x.log"]);
        check(&["flows.log.1"], "none*/x", None, &[]);
    }

    /// The short way of most patterns says the same as the long one.
    #[test]
    fn one_star_matches_as_in_any_glob() {
        let names = ["", "a", "ab", "aab", "b", ".b", "a.b", "a-1.b", "a-1.b.gz", "ab.b", "!a", "a*b"];
        for pattern in ["*", "a*", "*b", "a*b", "a-*.b", "a.b*", "aab*b", "!a*", "a**b", "a*[b]", "a\\*b", "a*?b"] {
            for name in names {
                let expected = fast_glob::glob_match(pattern, name);
                assert_eq!(Glob::new(pattern.as_bytes()).matches(name.as_bytes()), expected, "{pattern} {name}");
            }
        }
    }

    #[test]
    fn packing_goes_by_the_ending() {
        for (path, expected) in [
            ("/x/a.gz", Packing::Gzip),
            ("/x/a.log.zst", Packing::Zstd),
            ("/x/.gz", Packing::Plain),
            (".zst", Packing::Plain),
            ("/x.gz/a", Packing::Plain),
            ("/x/a.gzip", Packing::Plain),
        ] {
            assert_eq!(packing(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_name_with_wildcards_in_a_sibling_is_literal() {
        assert_eq!(siblings(Path::new("/x/a.b")).next().unwrap(), "a-*.b");
        assert_eq!(escape(b"a[1]"), b"a\\[1\\]");
    }
}
