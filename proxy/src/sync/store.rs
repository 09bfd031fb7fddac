//! Last known good: the snapshot on a memory-backed folder, so that a restarted container serves at once.
//!
//! Its age counts from the last contact with the operator, not from the last change: `contact` beside it says when that
//! was, and for which revision, so that a snapshot that was put there by somebody else does not get younger.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use portreeve_wire::proto::StoredSnapshot;
use prost::Message;

use crate::clock::UnixMillis;

/// Where it is kept, and for how long it counts.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
    max_age: Duration,
}

/// Why there is nothing to take up.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Nothing was stored yet.
    #[error("nothing is stored yet")]
    Absent,
    /// The file is not one of ours, or is cut off.
    #[error("{}: not a stored snapshot", .0.display())]
    Damaged(PathBuf),
    /// The folder or file cannot be read or written.
    #[error("{}: {error}", .file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Older than allowed.
    #[error("the stored snapshot is older than {} s", .0.as_secs())]
    TooOld(Duration),
}

impl Store {
    /// Keeps it below `folder`.
    pub fn new(folder: &Path, max_age: Duration) -> Self {
        Self { file: folder.join("snapshot.pb"), max_age }
    }

    /// Reads what was stored, unless it is too old.
    pub fn load(&self, now: UnixMillis) -> Result<StoredSnapshot, StoreFault> {
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreFault::Absent),
            Err(error) => return Err(StoreFault::Io { file: self.file.clone(), error }),
        };
        let stored = StoredSnapshot::decode(bytes.as_slice())
            .map_err(|_ignored: prost::DecodeError| StoreFault::Damaged(self.file.clone()))?;
        let saved = stored.saved_at.max(self.contact_of(stored.revision).unwrap_or_default());
        let saved = UnixMillis(saved.saturating_mul(1000));
        // A file from the future says that the clock stepped back: its age cannot be told, so it is too old.
        if saved > now.plus(Duration::from_mins(1)) || now.since(saved) > self.max_age {
            return Err(StoreFault::TooOld(self.max_age));
        }
        Ok(stored)
    }

    /// Notes that the operator is there and has nothing else than this revision. Written over a draft, so that it is
    /// whole or the one before.
    pub fn touch(&self, revision: u64, now: UnixMillis) -> Result<(), StoreFault> {
        let file = self.contact_file();
        let draft = file.with_extension("new");
        let text = format!("{revision} {}\n", now.0 / 1000);
        let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &file));
        written.map_err(|error| StoreFault::Io { file, error })
    }

    /// How often the contact is to be noted: often enough that it is never the reason for being too old.
    pub fn contact_interval(&self) -> Duration {
        (self.max_age / 4).clamp(Duration::from_secs(1), Duration::from_secs(30))
    }

    fn contact_file(&self) -> PathBuf {
        self.file.with_file_name("contact")
    }

    /// When the operator was last met with this revision, in seconds since 1970.
    fn contact_of(&self, revision: u64) -> Option<u64> {
        let text = fs::read_to_string(self.contact_file()).ok()?;
        let (held, seconds) = text.trim_end().split_once(' ')?;
        (held.parse::<u64>().ok()? == revision).then(|| seconds.parse().ok())?
    }

    /// Replaces the file as one act; only its owner can read it, for it holds secrets.
    pub fn save(&self, snapshot: &StoredSnapshot) -> Result<(), StoreFault> {
        let fresh = self.file.with_extension("new");
        let write = || -> io::Result<()> {
            if let Some(folder) = self.file.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&snapshot.encode_to_vec())?;
            fs::rename(&fresh, &self.file)
        };
        write().map_err(|error| StoreFault::Io { file: self.file.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis(seconds * 1000)
    }

    #[test]
    fn k8_last_known_good_ages_from_the_last_contact() {
        let folder = std::env::temp_dir().join(format!("portreeve-proxy-store-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let store = Store::new(&folder, Duration::from_secs(30));
        let stored = StoredSnapshot { revision: 7, saved_at: 1000, resources: Vec::new() };
        store.save(&stored).unwrap();
        let loads = |seconds| store.load(at(seconds)).is_ok();
        assert!(loads(1030) && !loads(1031));
        store.touch(7, at(1100)).unwrap();
        assert!(loads(1130) && !loads(1131), "unchanged, but the operator was there");
        assert!(!loads(1000), "a contact from the future says that the clock stepped back");
        store.touch(8, at(1200)).unwrap();
        assert!(!loads(1201), "the contact was about another revision");
        fs::write(folder.join("contact"), "7 rubbish").unwrap();
        assert!(loads(1030) && !loads(1100));
        assert_eq!(store.contact_interval(), Duration::from_millis(7500));
        fs::remove_dir_all(folder).unwrap();
    }
}
