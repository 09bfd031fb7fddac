//! One file on its way into force. A change counts when it is complete: when it stood still for a while, and for longer
//! where it takes something away, for a file that is still being written looks like one that lost its end.

use std::{path::Path, time::Duration};

use portreeve_compiler::manifest::{ManifestFault, Manifests, documents};
use serde_json::Value;
use tokio::time::Instant;

/// For a file that took the place of another by a rename, which is how a change is complete at once.
const REPLACED: Duration = Duration::from_millis(20);
/// For a file that is written in place, and for a new one.
const WRITTEN: Duration = Duration::from_millis(100);
/// For a text without a line end at its end.
const UNENDED: Duration = Duration::from_secs(1);
/// For a change that takes away an object, a field or an element of a list, and for a file that is gone.
const REMOVED: Duration = Duration::from_secs(2);

/// What stands on disk.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    Gone,
    File {
        bytes: Vec<u8>,
        /// Another number means another file under the same name.
        inode: u64,
    },
}

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// By people and programs that we do not know. `settled`: it was last written long ago.
    Foreign { settled: bool },
    /// By ourselves, always by a rename.
    Own,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Changed,
    Unchanged,
    /// Look again after this time.
    Wait(Duration),
}

/// A file, as last read.
#[derive(Default)]
pub(super) struct FileState {
    /// What was taken last, in force or not.
    taken: Option<Content>,
    /// A change that may not be complete, and since when it stands still.
    pending: Option<(Content, Instant)>,
    /// What is in force; `None` where no text of this file was ever YAML.
    pub(super) good: Option<String>,
    /// The bytes that are not in force, where there are none that are.
    pub(super) unread: Option<Vec<u8>>,
    /// Why `taken` is not in force.
    pub(super) fault: Option<ManifestFault>,
}

impl FileState {
    /// Whether it is gone, and that is settled.
    pub(super) fn is_gone(&self) -> bool {
        self.taken == Some(Content::Gone)
    }

    /// Whether nothing of it was taken yet.
    pub(super) fn is_new(&self) -> bool {
        self.taken.is_none()
    }

    /// Notes what stands on disk now, and takes it when it is complete.
    pub(super) fn observe(&mut self, path: &Path, content: Content, origin: Origin, now: Instant) -> Progress {
        if self.taken.as_ref() == Some(&content) {
            self.pending = None;
            return Progress::Unchanged;
        }
        let since = match &self.pending {
            Some((pending, since)) if *pending == content => *since,
            _ => now,
        };
        let quiet = self.quiet(&content, origin);
        let elapsed = now.saturating_duration_since(since);
        if elapsed < quiet {
            self.pending = Some((content, since));
            return Progress::Wait(quiet.saturating_sub(elapsed));
        }
        self.take(path, content);
        Progress::Changed
    }

    /// For how long a change must stand still.
    fn quiet(&self, content: &Content, origin: Origin) -> Duration {
        let Content::File { bytes, inode } = content else {
            return if self.is_new() { Duration::ZERO } else { REMOVED };
        };
        match (origin, &self.taken) {
            (Origin::Own, _) | (Origin::Foreign { settled: true }, None | Some(Content::Gone)) => Duration::ZERO,
            (Origin::Foreign { .. }, taken) => {
                let text = String::from_utf8_lossy(bytes);
                let replaced = matches!(taken, Some(Content::File { inode: before, .. }) if before != inode);
                let removes = self.good.as_ref().is_some_and(|good| removes_something(good, &text));
                let ended = text.ends_with('\n');
                match (removes, ended, replaced) {
                    (true, _, _) => REMOVED,
                    (false, false, _) => UNENDED,
                    (false, true, true) => REPLACED,
                    (false, true, false) => WRITTEN,
                }
            }
        }
    }

    fn take(&mut self, path: &Path, content: Content) {
        let mut trial = Manifests::default();
        self.pending = None;
        match &content {
            Content::Gone => *self = Self::default(),
            Content::File { bytes, .. } if trial.read_bytes(&path.display().to_string(), bytes) => {
                self.good = Some(String::from_utf8_lossy(bytes).into_owned());
                (self.unread, self.fault) = (None, None);
            }
            Content::File { bytes, .. } => {
                let mut fault = trial.faults.into_iter().find(|fault| fault.message.starts_with("not "));
                if let (Some(fault), true) = (&mut fault, self.good.is_some()) {
                    let told = fault.message.split(';').next().unwrap_or_default();
                    fault.message = format!("{told}; its last good text stays in force");
                }
                self.unread = self.good.is_none().then(|| bytes.clone());
                self.fault = fault;
            }
        }
        self.taken = Some(content);
    }
}

/// Whether an object, a field or an element of a list is there before and not after.
fn removes_something(before: &str, after: &str) -> bool {
    let (Some(before), Some(after)) = (documents(before), documents(after)) else { return false };
    before.iter().any(|old| !after.iter().any(|new| same_object(old, new) && holds(new, old)))
}

fn same_object(a: &Value, b: &Value) -> bool {
    ["/apiVersion", "/kind", "/metadata/namespace", "/metadata/name"]
        .iter()
        .all(|path| a.pointer(path) == b.pointer(path))
}

/// Whether everything that `old` has is there in `new`, with whatever value. Their reader bounds how deep they are.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(name, old)| new.get(name).is_some_and(|new| holds(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        (_, Value::Object(_) | Value::Array(_)) | (Value::Null, _) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: portreeve.dev/v1alpha1\nkind: ApiPolicy\nmetadata: {name: a}\nspec:\n  \
                          targetRefs: [{kind: ApiRoute, name: a}]\n  authentication: {anonymous: {}}\n  \
                          authorization: {scopes: {allOf: [a, b]}}\n";

    fn file(text: &str, inode: u64) -> Content {
        Content::File { bytes: text.as_bytes().to_vec(), inode }
    }

    #[test]
    fn p4_a_change_counts_when_it_is_complete() {
        let (path, start) = (Path::new("a.yaml"), Instant::now());
        let written = Origin::Foreign { settled: false };
        let known = || {
            let mut state = FileState::default();
            let settled = Origin::Foreign { settled: true };
            assert_eq!(state.observe(path, file(POLICY, 1), settled, start), Progress::Changed);
            state
        };
        let cut = POLICY.split_once("  authorization").unwrap().0;
        for (what, content, quiet) in [
            ("written in place", file(&POLICY.replace("[a, b]", "[a, c]"), 1), WRITTEN),
            ("replaced", file(&POLICY.replace("[a, b]", "[a, c]"), 2), REPLACED),
            ("a field added", file(&format!("{POLICY}  mode: Shadow\n"), 2), REPLACED),
            ("cut before a block", file(cut, 1), REMOVED),
            ("replaced by one without a block", file(cut, 2), REMOVED),
            ("an element taken out", file(&POLICY.replace("[a, b]", "[a]"), 2), REMOVED),
            ("cut within a line", file(POLICY.trim_end(), 1), UNENDED),
            ("emptied", file("", 1), REMOVED),
            ("gone", Content::Gone, REMOVED),
        ] {
            let mut state = known();
            let late = quiet.saturating_sub(Duration::from_millis(1));
            assert_eq!(state.observe(path, content.clone(), written, start), Progress::Wait(quiet), "{what}");
            assert_eq!(state.good.as_deref(), Some(POLICY), "{what}");
            let left = Progress::Wait(Duration::from_millis(1));
            assert_eq!(state.observe(path, content.clone(), written, start + late), left, "{what}");
            assert_eq!(state.observe(path, content.clone(), written, start + quiet), Progress::Changed, "{what}");
            assert_eq!(state.observe(path, content, written, start + quiet), Progress::Unchanged, "{what}");
        }
    }

    #[test]
    fn p4_a_file_that_goes_on_changing_waits_and_one_that_comes_back_changes_nothing() {
        let (path, start) = (Path::new("a.yaml"), Instant::now());
        let mut state = FileState::default();
        let written = Origin::Foreign { settled: false };
        assert_eq!(state.observe(path, file(POLICY, 1), written, start), Progress::Wait(WRITTEN));
        assert!(state.is_new());
        assert_eq!(state.observe(path, file(POLICY, 1), written, start + WRITTEN), Progress::Changed);
        for step in 0..40_u32 {
            let cut = POLICY.get(..POLICY.len() / 2 + usize::try_from(step).unwrap()).unwrap();
            let now = start + REMOVED * step;
            assert!(matches!(state.observe(path, file(cut, 1), written, now), Progress::Wait(_)), "{step}");
        }
        assert_eq!(state.observe(path, file(POLICY, 1), written, start + REMOVED * 50), Progress::Unchanged);
    }

    #[test]
    fn fault_20_bytes_that_are_no_utf8_are_told_with_their_place() {
        let (path, now) = (Path::new("m.yaml"), Instant::now());
        let mut state = FileState::default();
        let bytes = b"a: b\nc: \xfc\n".to_vec();
        let settled = Origin::Foreign { settled: true };
        assert_eq!(state.observe(path, Content::File { bytes, inode: 1 }, settled, now), Progress::Changed);
        assert!(state.fault.unwrap().to_string().starts_with("m.yaml:2:4: not UTF-8"));
        assert_eq!(state.good, None);
    }
}
