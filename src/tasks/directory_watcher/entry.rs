//! The known facts about a file, and their changes.

use std::{
    fmt,
    fs::Metadata,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The known facts about a file or a folder. For a symbolic link they are those of the file that it leads to, if there
/// is one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The absolute path.
    pub path: PathBuf,
    /// The size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// The inode number in its file system, where there are such numbers.
    pub inode: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
}

impl Entry {
    pub(super) fn new(path: &Path, metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self {
            path: path.to_owned(),
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(UNIX_EPOCH),
            inode,
            is_dir: metadata.is_dir(),
        }
    }

    /// Whether it is unchanged. A folder is, whatever happens to its contents.
    pub(super) fn is_as(&self, old: &Self) -> bool {
        if self.is_dir && old.is_dir { self.inode == old.inode } else { self == old }
    }
}

/// A change of a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It has come to exist.
    Created(Entry),
    /// It has been written to, or replaced. A folder is only ever replaced.
    Changed {
        /// The facts before the change.
        old: Entry,
        /// The facts after the change.
        new: Entry,
    },
    /// It is gone; these are its last known facts.
    Deleted(Entry),
}

impl Change {
    /// Returns the change from the old facts to the new ones.
    pub(super) fn between(old: Option<Entry>, new: Option<Entry>) -> Option<Self> {
        match (old, new) {
            (None, Some(new)) => Some(Self::Created(new)),
            (Some(old), Some(new)) => Some(Self::Changed { old, new }),
            (Some(old), None) => Some(Self::Deleted(old)),
            (None, None) => None,
        }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Created(entry) | Self::Changed { new: entry, .. } | Self::Deleted(entry) => &entry.path,
        }
    }

    /// Returns the facts before the change, if it existed.
    pub fn before(&self) -> Option<&Entry> {
        match self {
            Self::Created(_) => None,
            Self::Changed { old, .. } | Self::Deleted(old) => Some(old),
        }
    }

    /// Returns the facts after the change, if it exists.
    pub fn after(&self) -> Option<&Entry> {
        match self {
            Self::Created(new) | Self::Changed { new, .. } => Some(new),
            Self::Deleted(_) => None,
        }
    }
}

/// Formats it as `created /etc/motd`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Created(_) => "created",
            Self::Changed { .. } => "changed",
            Self::Deleted(_) => "deleted",
        };
        write!(f, "{what} {}", self.path().display())
    }
}
