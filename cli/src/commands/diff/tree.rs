//! A tree of manifests: on disk, or in a revision of Git.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, bail};
use portreeve_compiler::manifest::Manifests;

use crate::commands::read::manifests;

/// What a tree holds.
pub(super) struct Tree {
    pub(super) manifests: Manifests,
}

/// Reads a file, a folder, or `git:REVISION:PATH`.
pub(super) fn read(source: &str) -> anyhow::Result<Tree> {
    if let Some(named) = source.strip_prefix("git:") {
        let (revision, path) = named.rsplit_once(':').unwrap_or((named, "."));
        return of_revision(revision, path).with_context(|| source.to_owned());
    }
    let (manifests, unreadable) = manifests(&[PathBuf::from(source)]);
    match unreadable.into_iter().next() {
        Some(fault) => Err(fault.into()),
        None => Ok(Tree { manifests }),
    }
}

/// Every manifest of a revision below a path, in the order of names.
fn of_revision(revision: &str, path: &str) -> anyhow::Result<Tree> {
    // What begins with a dash would be an option.
    if revision.is_empty() || revision.starts_with('-') {
        bail!("{revision:?} is no revision; expected git:REVISION:PATH");
    }
    let listed = git(&["ls-tree", "-r", "-z", "--name-only", revision, "--", path])?;
    let mut manifests = Manifests::default();
    let names = listed.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut found = false;
    for name in names.filter(|name| ["yaml", "yml", "json"].iter().any(|ending| name.ends_with(&format!(".{ending}"))))
    {
        // Names are relative to the folder of the process, as ls-tree gives them.
        let bytes = git(&["show", &format!("{revision}:./{name}")])?;
        manifests.read_bytes(&format!("{revision}:{name}"), &bytes);
        found = true;
    }
    if !found {
        bail!("the revision has no manifest below {path}");
    }
    Ok(Tree { manifests })
}

fn git(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("git").args(arguments).output().context("git cannot be run")?;
    if !output.status.success() {
        bail!("git: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
