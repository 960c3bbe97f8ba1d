//! All contents of a lane, and which of them a look must see.
//!
//! A folder may hold ten thousand rotated files of which one grows. What is read, settled and closed rests: looks, which
//! come with every write, go over the others alone. Whoever changes a content by [`Contents::get_mut`] wakes it, by
//! [`Contents::update`] only if it does not rest afterwards.

use std::collections::BTreeSet;

use super::content::Content;
use super::table::Table;

#[derive(Debug, Default)]
pub struct Contents {
    /// In boxes: a table keeps a half of its places free.
    all: Table<u32, Box<Content>>,
    awake: BTreeSet<u32>,
}

impl Contents {
    pub fn get(&self, id: u32) -> Option<&Content> {
        self.all.get(&id).map(|content| &**content)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Content> {
        let content = self.all.get_mut(&id)?;
        self.awake.insert(id);
        Some(content)
    }

    /// Wakes it only if there is something to do with it after the change.
    pub fn update(&mut self, id: u32, change: impl FnOnce(&mut Content)) {
        let Some(content) = self.all.get_mut(&id) else { return };
        change(content);
        if !content.rests() {
            self.awake.insert(id);
        }
    }

    /// One of the checkpoint, in the place of one with the same id.
    pub fn restore(&mut self, id: u32, content: Content) {
        if content.rests() {
            self.awake.remove(&id);
        } else {
            self.awake.insert(id);
        }
        self.all.insert(id, Box::new(content));
    }

    pub fn insert(&mut self, id: u32, content: Content) {
        self.all.insert(id, Box::new(content));
        self.awake.insert(id);
    }

    pub fn remove(&mut self, id: u32) -> Option<Box<Content>> {
        self.awake.remove(&id);
        self.all.remove(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Content)> {
        self.all.iter().map(|(id, content)| (*id, &**content))
    }

    pub fn values(&self) -> impl Iterator<Item = &Content> {
        self.all.values().map(|content| &**content)
    }

    /// Wakes nothing: what rests must go on resting after the change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Content)> {
        self.all.iter_mut().map(|(id, content)| (*id, &mut **content))
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        self.all.values_mut().map(|content| &mut **content)
    }

    /// Those that do not rest, by id; some that do may be among them.
    pub fn awake(&self) -> impl Iterator<Item = (u32, &Content)> {
        self.awake.iter().filter_map(|id| Some((*id, self.get(*id)?)))
    }

    /// The ids of [`Contents::awake`].
    pub fn awake_ids(&self) -> Vec<u32> {
        self.awake.iter().copied().collect()
    }

    /// Lets go of those with which nothing is left to do.
    pub fn rest(&mut self) {
        self.awake.retain(|id| self.all.get(id).is_some_and(|content| !content.rests()));
    }
}
