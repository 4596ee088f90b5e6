//! The part that looks at the file system, on a thread that may block.
//!
//! A folder is watched before it is read: what happens after the reading is an event. So each change is seen by one of
//! the two, or by both, and the findings are compared with what is known. The task updates what is known as it reports
//! the changes, one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{
    super::common::lock,
    Change, Entry,
    ears::{Ears, Inbox, Look},
};

/// A file that was last written to this shortly before the look may be written to again without a new modification
/// time.
const GRAIN: Duration = Duration::from_millis(20);

/// Whether a file or a folder is wanted.
pub(super) type Filter = Arc<dyn Fn(&Entry) -> bool + Send + Sync>;

/// What exists, as far as it has been reported.
#[derive(Default)]
pub(super) struct Known {
    entries: BTreeMap<PathBuf, Entry>,
    /// The files that were looked at within [`GRAIN`] of their last write.
    fresh: BTreeSet<PathBuf>,
    /// The folder has been looked at.
    pub(super) begun: bool,
}

impl Known {
    /// Notes a change that is reported.
    pub(super) fn apply(&mut self, change: &Change) {
        match change.after() {
            Some(new) => self.entries.insert(new.path.clone(), new.clone()),
            None => {
                self.fresh.remove(change.path());
                self.entries.remove(change.path())
            }
        };
    }

    /// Returns the entry of a path, and all entries below it.
    fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Entry)> {
        self.entries.range(path.to_owned()..).take_while(move |(known, _)| known.starts_with(path))
    }
}

/// The findings of a look.
#[derive(Debug)]
pub(super) struct View {
    pub(super) changes: Vec<Change>,
    pub(super) root: Root,
    /// Why there are no events, if there are none.
    pub(super) polls: Option<Polls>,
    pub(super) whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    There,
    Missing(&'static str),
    /// Nothing can be said about its contents.
    Unreadable(String),
}

/// Says why the folder is looked at by the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Polls {
    /// The user has asked for it, or the file system requires it.
    Meant(String),
    /// The system has run out of what events need.
    Fallback(String),
}

type Entries = BTreeMap<PathBuf, Entry>;

pub(super) struct Scout {
    root: PathBuf,
    recursive: bool,
    filter: Option<Filter>,
    known: Arc<Mutex<Known>>,
    inbox: Arc<Inbox>,
    /// The weak reference shows whether its thread still exists.
    events: Option<(RecommendedWatcher, Weak<()>)>,
    polls: Option<Polls>,
}

impl Scout {
    pub(super) fn new(
        root: PathBuf,
        recursive: bool,
        filter: Option<Filter>,
        known: Arc<Mutex<Known>>,
        inbox: Arc<Inbox>,
        polls: bool,
    ) -> Self {
        let polls = polls.then(|| Polls::Meant("as it was asked to".into()));
        Self { root, recursive, filter, known, inbox, events: None, polls }
    }

    /// Looks, and returns the changes and the present state: nothing is reported yet.
    pub(super) fn look(&mut self, look: Look) -> View {
        if let Look::At(paths) = look
            && let Some(changes) = self.look_at(paths)
        {
            return View { changes, root: Root::There, polls: self.polls.clone(), whole: false };
        }
        let (changes, root) = self.look_everywhere();
        // A partial reading can't be relied on.
        let changes = if self.inbox.is_over() { Vec::new() } else { changes };
        View { changes, root, polls: self.polls.clone(), whole: true }
    }

    fn look_everywhere(&mut self) -> (Vec<Change>, Root) {
        self.listen();
        let (mut now, mut tries) = (Entries::new(), 3);
        let root = loop {
            match self.walk(&self.root.clone(), &mut now) {
                Ok(()) => break Root::There,
                Err(error) if is_missing(&error) => {
                    now.clear();
                    tries -= 1;
                    if self.look_out() || tries == 0 {
                        let is_file = error.kind() == io::ErrorKind::NotADirectory;
                        break Root::Missing(if is_file { "it is no folder" } else { "it is missing" });
                    }
                }
                Err(error) => break Root::Unreadable(error.to_string()),
            }
        };
        let changes = match root {
            Root::Unreadable(_) => Vec::new(),
            Root::There | Root::Missing(_) => compare(&lock(&self.known).entries, &now),
        };
        (changes, root)
    }

    /// Looks at these paths, and below them; None if it must look everywhere.
    fn look_at(&mut self, paths: BTreeMap<PathBuf, bool>) -> Option<Vec<Change>> {
        let mut changes = Vec::new();
        let mut done: Option<PathBuf> = None;
        for (path, written) in paths {
            if done.as_ref().is_some_and(|done| path.starts_with(done)) {
                continue;
            }
            let was_fresh = lock(&self.known).fresh.contains(&path);
            let mut now = Entries::new();
            match self.see(&path) {
                // Other links that lead through this one may lead elsewhere by now.
                Ok(Some((entry, Kind::Link))) if entry.is_dir => return None,
                Ok(Some((entry, kind))) => {
                    now.insert(path.clone(), entry);
                    if kind == Kind::Folder && self.recursive {
                        match self.walk(&path, &mut now) {
                            Ok(()) => {}
                            Err(error) if is_missing(&error) => now.clear(),
                            Err(error) => self.unread(&path, &error, &mut now),
                        }
                    }
                }
                Ok(None) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => {
                    log::debug!("{}: {error}", path.display());
                    continue;
                }
            }
            if self.inbox.is_over() {
                break;
            }
            let known = lock(&self.known);
            let before: Entries = known.below(&path).map(|(path, entry)| (path.clone(), entry.clone())).collect();
            drop(known);
            let from = changes.len();
            changes.extend(compare(&before, &now));
            if written
                && was_fresh
                && changes.len() == from
                && let (Some(old), Some(new)) = (before.get(&path), now.get(&path))
            {
                changes.push(Change::Changed { old: old.clone(), new: new.clone() });
            }
            // All below this path is done too.
            done = Some(path);
        }
        Some(changes)
    }

    /// Collects all below this folder, and watches it from now on.
    fn walk(&mut self, top: &Path, now: &mut Entries) -> io::Result<()> {
        let mut folders = vec![top.to_owned()];
        while let Some(folder) = folders.pop() {
            if self.inbox.is_over() {
                break;
            }
            match self.list(&folder, now, &mut folders) {
                Ok(()) => {}
                Err(error) if folder == top => return Err(error),
                Err(error) if is_missing(&error) => {}
                Err(error) => self.unread(&folder, &error, now),
            }
        }
        Ok(())
    }

    fn list(&mut self, folder: &Path, now: &mut Entries, folders: &mut Vec<PathBuf>) -> io::Result<()> {
        self.watch(folder)?;
        if folder == self.root && fs::symlink_metadata(folder)?.is_symlink() {
            // The link may come to lead elsewhere.
            folder.parent().map_or(Ok(()), |parent| self.watch(parent))?;
        }
        for item in fs::read_dir(folder)? {
            let path = item?.path();
            match self.see(&path) {
                Ok(Some((entry, kind))) => {
                    if kind == Kind::Folder && self.recursive {
                        folders.push(path.clone());
                    }
                    now.insert(path, entry);
                }
                Ok(None) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => self.unread(&path, &error, now),
            }
        }
        Ok(())
    }

    /// Keeps the last known entries for what can't be read now.
    fn unread(&self, path: &Path, error: &io::Error, now: &mut Entries) {
        log::warn!("{} can't be read, and is taken to be as it was: {error}", path.display());
        for (path, entry) in lock(&self.known).below(path) {
            now.entry(path.clone()).or_insert_with(|| entry.clone());
        }
    }

    /// Returns what is there, if it is wanted.
    fn see(&self, path: &Path) -> io::Result<Option<(Entry, Kind)>> {
        let own = fs::symlink_metadata(path)?;
        let is_link = own.is_symlink();
        let metadata = if is_link { fs::metadata(path).unwrap_or(own) } else { own };
        let entry = Entry::new(path, &metadata);
        if self.filter.as_ref().is_some_and(|filter| !filter(&entry)) {
            return Ok(None);
        }
        let age = SystemTime::now().duration_since(entry.modified);
        let is_fresh = !entry.is_dir && age.is_ok_and(|age| age < GRAIN);
        let fresh = &mut lock(&self.known).fresh;
        if is_fresh {
            fresh.insert(path.to_owned());
        } else {
            fresh.remove(path);
        }
        let kind = match (is_link, entry.is_dir) {
            (true, _) => Kind::Link,
            (false, true) => Kind::Folder,
            (false, false) => Kind::File,
        };
        Ok(Some((entry, kind)))
    }

    // --- Events ---

    /// Starts to listen afresh, unless it must poll: what notify remembers of earlier places is dropped.
    fn listen(&mut self) {
        self.hush();
        if self.polls.is_none() && has_no_events(&self.root) {
            self.polls = Some(Polls::Meant("since its file system tells of no events".into()));
        }
        if self.polls.is_some() {
            return;
        }
        let (ears, alive) = Ears::new(self.inbox.clone());
        match RecommendedWatcher::new(ears, Config::default()) {
            Ok(events) => self.events = Some((events, alive)),
            Err(error) => self.fall_back(error.to_string()),
        }
    }

    fn fall_back(&mut self, why: String) {
        self.polls = Some(Polls::Fallback(why));
        self.hush();
    }

    fn hush(&mut self) {
        if let Some((events, alive)) = self.events.take()
            && alive.strong_count() == 0
        {
            // Its thread is gone, and the drop would send that thread a message, which is a panic.
            std::mem::forget(events);
        }
    }

    /// Asks for events of this folder from now on. A folder that is already watched is watched afresh: another one may
    /// be in its place.
    fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let Some((events, alive)) = &mut self.events else { return Ok(()) };
        if alive.strong_count() == 0 {
            self.fall_back("there is no thread for events".into());
            return Ok(());
        }
        events.watch(folder, RecursiveMode::NonRecursive).or_else(|error| match error.kind {
            ErrorKind::PathNotFound => Err(io::ErrorKind::NotFound.into()),
            ErrorKind::Io(error) => Err(error),
            _ => {
                self.fall_back(error.to_string());
                Ok(())
            }
        })
    }

    /// Asks for events of the last existing folder on the way to the missing one. Returns whether the folder is still
    /// missing.
    fn look_out(&mut self) -> bool {
        let mut missing = self.root.clone();
        while let Some(parent) = missing.parent().map(Path::to_owned) {
            match self.watch(&parent) {
                Err(error) if is_missing(&error) => missing = parent,
                _ => return !missing.is_dir(),
            }
        }
        true
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.hush();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the changes from one to the other: first the deletions, the innermost first; then the rest, the outermost
/// first.
fn compare(before: &Entries, now: &Entries) -> Vec<Change> {
    let other_kind = |old: &Entry, new: &Entry| old.is_dir != new.is_dir;
    let mut changes = Vec::new();
    for (path, old) in before.iter().rev() {
        if now.get(path).is_none_or(|new| other_kind(old, new)) {
            changes.push(Change::Deleted(old.clone()));
        }
    }
    for (path, new) in now {
        let new = new.clone();
        match before.get(path).filter(|old| !other_kind(old, &new)) {
            Some(old) if new.is_as(old) => {}
            Some(old) => changes.push(Change::Changed { old: old.clone(), new }),
            None => changes.push(Change::Created(new)),
        }
    }
    changes
}

/// Whether files here may change without an event: by another machine, or by a program that provides the file system.
#[cfg(target_os = "linux")]
fn has_no_events(path: &Path) -> bool {
    // NFS, SMB (three of them), AFS, Coda, NCP, Ceph, 9P, FUSE: linux/magic.h.
    const REMOTE: [u32; 11] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x5346_414f,
        0x6b41_4653,
        0x7375_7245,
        0x564c,
        0x00c3_6400,
        0x0102_1997,
        0x6573_5546,
    ];
    rustix::fs::statfs(path).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn has_no_events(_: &Path) -> bool {
    false
}
