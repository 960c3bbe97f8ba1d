//! How long files may be left alone while nobody tells of a change.
//!
//! Where the kernel tells of everything, they are looked at only as often as the directories are listed anyway. That it
//! does is not believed blindly: one change that a look finds and nobody told of makes the looks frequent again for good.

use std::time::{Duration, Instant};

use super::{FileSource, LISTING_INTERVAL};
use crate::lane::LOOK;

/// Changes within this time after a look may be told of later than they are found.
const UNTOLD: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// A file can be written by a name that lies in none of the watched directories.
    pub(super) elsewhere: bool,
    /// The look of now found that a file had changed.
    pub(super) found: bool,
    /// Of [`super::Watched::events`], at the last look.
    events: u64,
    calm: bool,
    /// Nobody's silence is believed any more.
    deaf: bool,
}

impl FileSource {
    /// Looks again, and judges whether it had to find out by itself.
    pub(super) fn look_and_judge(&mut self) {
        let events = self.config.watched.events();
        let told = events != self.quiet.events;
        let late = self.looked_at.is_some_and(|at| at.elapsed() > UNTOLD);
        let trusted = self.quiet.calm && self.config.watched.is_complete();
        self.quiet.found = false;
        self.look_again();
        self.quiet.events = events;
        if self.quiet.found && late && !told && trusted {
            tracing::info!("a log file changed and no event said so; from now on they are looked at once a second");
            self.quiet.deaf = true;
        }
        self.quiet.calm = self.is_calm();
    }

    /// Nothing is under way, and whatever happens next comes by a name in a directory of a source.
    fn is_calm(&self) -> bool {
        !self.quiet.elsewhere
            && !self.quiet.deaf
            && !self.listing_at_wake
            && !self.is_held()
            && self.out_of_reach(false).is_empty()
    }

    /// When the files are to be looked at again, whoever tells of something.
    pub(super) fn next_look(&self, looked_at: Instant) -> Instant {
        let calm = self.quiet.calm && !self.changed && self.config.watched.is_complete();
        let soon = looked_at + LOOK;
        self.listed_at.filter(|_| calm).map_or(soon, |listed_at| soon.max(listed_at + LISTING_INTERVAL))
    }
}
