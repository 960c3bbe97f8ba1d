//! How long the files may be left alone.

use super::*;
use crate::lane::LOOK;

impl Bench {
    /// Everything is watched, and nothing came for a while; two files are read and settled.
    fn calm() -> Self {
        let mut b = Self::new();
        b.append("flows.log", "a1\n").append("flows.log.1", "b1\n");
        b.watched.set(true, 1);
        b.read_as(true);
        // A directory that was just made may hide a change, and is listed again.
        b.look_late();
        b
    }

    /// A look long after the last one.
    fn look_late(&mut self) {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        self.source().looked_at = Some(long_ago);
        self.read_as(true);
    }

    /// The next look is as far away as the next listing, or a second.
    #[track_caller]
    fn rests(&mut self, expected: bool, why: &str) {
        let now = Instant::now();
        let wait = self.source().due(now) - now;
        assert_eq!(wait > LOOK, expected, "{why}: {wait:?}");
        assert!(wait >= LOOK && wait <= LISTING_INTERVAL, "{why}: {wait:?}");
    }
}

#[test]
fn files_are_left_alone_only_where_every_change_is_told() {
    let mut b = Bench::calm();
    b.rests(true, "all is watched");
    b.watched.set(false, 1);
    b.rests(false, "a directory is not watched");
    b.watched.set(true, 1);
    b.rests(true, "it is watched again");
    b.append("flows.log", "a2\n");
    b.watched.set(true, 2);
    assert_eq!(b.read_as(false), ["a2"]);
    b.rests(false, "what was read is not in the checkpoint");
    b.source().persist(None).unwrap();
    b.rests(true, "now it is");
}

#[test]
fn a_change_that_nobody_told_of_ends_the_rest() {
    let mut b = Bench::calm();
    b.append("flows.log", "a2\n");
    b.watched.set(true, 2);
    b.look_late();
    b.rests(true, "it was told");
    b.append("flows.log", "a3\n");
    b.read_as(true);
    b.rests(true, "found a moment after a look, before the word came");
    b.append("flows.log", "a4\n");
    b.look_late();
    b.rests(false, "nobody told");
    b.look_late();
    b.rests(false, "nor will they be believed");
}

#[test]
fn files_with_names_elsewhere_are_looked_at() {
    let other = tempfile::tempdir().unwrap();
    let target = other.path().join("target");
    let mut b = Bench::calm();
    let link = b.path("flows-l.log");
    let mut check = |what: &str| {
        b.source().listing_wanted = true;
        b.read_as(true);
        b.rests(false, what);
    };
    std::os::unix::fs::symlink(&target, &link).unwrap();
    check("a link to nothing");
    std::fs::write(&target, "l1\n").unwrap();
    check("a link");
    std::fs::remove_file(&link).unwrap();
    std::fs::hard_link(&target, &link).unwrap();
    check("a second name");
    std::fs::remove_file(&link).unwrap();
    std::fs::remove_file(&target).unwrap();
    check("the file is open, and has no name");
}

/// As with a file of another file system that is mounted over a name in the directory.
#[test]
fn files_of_another_device_are_looked_at() {
    let b = Bench::new();
    b.append("flows.log", "a1\n");
    let elsewhere = |b: &Bench, device| {
        let mut listing = Listing { device, ..Listing::default() };
        let look = Look::of(&std::fs::metadata(b.path("flows.log")).unwrap());
        listing.meet(look, false);
        listing.elsewhere
    };
    let own = Look::of(&std::fs::metadata(b.dir.path()).unwrap()).inode.device;
    assert!(!elsewhere(&b, own));
    assert!(elsewhere(&b, own + 1));
}
