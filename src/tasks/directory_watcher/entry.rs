//! What is known of a file, and how that changes.

use std::{
    fmt,
    fs::Metadata,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// What is known of a file or a folder. Of a symbolic link: what is known of the file that it leads to, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Where it is: absolute.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// When it was written last.
    pub modified: SystemTime,
    /// Its number in its file system, where there are such.
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

    /// Whether it is as it was. A folder is, whatever becomes of what is in it.
    pub(super) fn is_as(&self, old: &Self) -> bool {
        if self.is_dir && old.is_dir { self.inode == old.inode } else { self == old }
    }
}

/// What has become of a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It is there now.
    Created(Entry),
    /// It has been written to, or replaced. A folder is only ever replaced.
    Changed {
        /// As it was.
        old: Entry,
        /// As it is.
        new: Entry,
    },
    /// It is gone; so it was.
    Deleted(Entry),
}

impl Change {
    /// From what it was to what it is.
    pub(super) fn between(old: Option<Entry>, new: Option<Entry>) -> Option<Self> {
        match (old, new) {
            (None, Some(new)) => Some(Self::Created(new)),
            (Some(old), Some(new)) => Some(Self::Changed { old, new }),
            (Some(old), None) => Some(Self::Deleted(old)),
            (None, None) => None,
        }
    }

    /// Where.
    pub fn path(&self) -> &Path {
        match self {
            Self::Created(entry) | Self::Changed { new: entry, .. } | Self::Deleted(entry) => &entry.path,
        }
    }

    /// As it was, if it was there.
    pub fn before(&self) -> Option<&Entry> {
        match self {
            Self::Created(_) => None,
            Self::Changed { old, .. } | Self::Deleted(old) => Some(old),
        }
    }

    /// As it is, if it is there.
    pub fn after(&self) -> Option<&Entry> {
        match self {
            Self::Created(new) | Self::Changed { new, .. } => Some(new),
            Self::Deleted(_) => None,
        }
    }
}

/// `created /etc/motd`
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
