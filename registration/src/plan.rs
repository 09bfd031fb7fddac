//! From what is desired, what is remembered and what is true now, to the steps between them. Pure: no call, no clock.

#[cfg(test)]
mod tests;

use crate::{
    Deletion, Desired, DriftPolicy, JournalEntry, ObstacleKind, ReconcileInput, Registration, Step, compare,
    management_failure::{RecoveryAction, consented, is_unmanaged, moved, way},
    rotation,
};

/// Whether the server shall be asked how it describes the client now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// What the journal says is enough.
    No,
    /// Read the client once, unless another step brings its description anyway.
    Yes,
}

/// The steps that lead from the journal (with the last answer in it) to `desired`, in order; none when they agree, and
/// none when only people can say what to do. After the steps the caller plans again, because an answer may ask for more
/// (a read that finds drift is followed by an update).
///
/// | desired | journal | steps |
/// |---|---|---|
/// | Keep | no client, whether or not a create has no recorded answer | AddKey (for keys of our own), Create |
/// | Keep | a deletion was begun | Delete, Create |
/// | Keep | an update has no recorded answer, or other metadata was sent last | Update |
/// | Keep | a read has no recorded answer, or a read is wanted | Read |
/// | Keep | drift that was not there after the last update, and drift is to be corrected | Update |
/// | Keep | the time of a replaced client, or of an old key, is over | Retire; DropKeys |
/// | Keep | credentials are due | AddKey (then an update), or Replace |
/// | any | the client cannot be managed | Probe, Discard, Abandon, or none: see [`crate::ManagementFailure`] |
/// | Delete | a client, and clients that were replaced | Delete, Retire, Forget |
/// | Delete | nothing but what must be told | none; the caller tells it and clears the journal |
/// | Delete | something else in the journal | Forget |
/// | Retain | anything | none |
///
/// INVARIANT: drift that the server keeps through an update is not updated again, so no server makes us PUT for ever.
pub fn plan(desired: &Desired, occasion: &ReconcileInput<'_>, entry: &JournalEntry) -> Vec<Step> {
    match desired.deletion() {
        Deletion::Delete => delete(desired, occasion, entry),
        Deletion::Keep => match &entry.registration {
            None => fresh(desired, entry),
            Some(registration) => keep(desired, occasion, entry, registration),
        },
        Deletion::Retain => Vec::new(),
    }
}

/// A client where there is none.
fn fresh(desired: &Desired, entry: &JournalEntry) -> Vec<Step> {
    match desired.key_purpose() {
        Some(_) if entry.keys.is_empty() => vec![Step::AddKey, Step::Create],
        Some(_) | None => vec![Step::Create],
    }
}

/// A client instead of one that the journal loses first.
fn anew(desired: &Desired, first: Step) -> Vec<Step> {
    let mut steps = vec![first];
    steps.extend(fresh(desired, &JournalEntry::default()));
    steps
}

fn delete(desired: &Desired, occasion: &ReconcileInput<'_>, entry: &JournalEntry) -> Vec<Step> {
    let Some(registration) = &entry.registration else {
        return match entry.suspected() {
            _ if !entry.retired.is_empty() => vec![Step::Retire],
            Some(_told_before_it_is_forgotten) => Vec::new(),
            None if entry.is_blank() => Vec::new(),
            None => vec![Step::Forget],
        };
    };
    let agreed = consented(occasion, registration);
    match &entry.obstacle {
        _ if agreed && (is_unmanaged(desired, entry, registration) || moved(desired, entry).is_some()) => {
            vec![Step::Abandon]
        }
        Some(obstacle) if obstacle.kind != ObstacleKind::Unmanaged => {
            match way(desired, occasion, entry, obstacle, false) {
                RecoveryAction::Abandon => vec![Step::Abandon],
                RecoveryAction::Discard => vec![Step::Discard],
                RecoveryAction::Probe => vec![Step::Probe],
                RecoveryAction::Wait if occasion.read_back == ReadBack::Yes => vec![Step::Delete],
                RecoveryAction::Wait => Vec::new(),
            }
        }
        Some(_) | None if entry.retired.is_empty() && entry.suspected().is_none() => vec![Step::Delete, Step::Forget],
        Some(_) | None => vec![Step::Delete],
    }
}

fn keep(
    desired: &Desired,
    occasion: &ReconcileInput<'_>,
    entry: &JournalEntry,
    registration: &Registration,
) -> Vec<Step> {
    let agreed = consented(occasion, registration);
    if moved(desired, entry).is_some() {
        return if agreed { anew(desired, Step::Abandon) } else { Vec::new() };
    }
    let unmanaged = is_unmanaged(desired, entry, registration);
    if let Some(obstacle) = entry.obstacle.as_ref().filter(|_| !unmanaged) {
        return match way(desired, occasion, entry, obstacle, true) {
            RecoveryAction::Abandon => anew(desired, Step::Abandon),
            RecoveryAction::Discard => anew(desired, Step::Discard),
            RecoveryAction::Probe => vec![Step::Probe],
            RecoveryAction::Wait if occasion.read_back == ReadBack::Yes => vec![Step::Read],
            RecoveryAction::Wait => Vec::new(),
        };
    }
    let unfinished = entry.intent.as_ref().map(|intent| intent.step);
    let edited = entry.last_sent.as_ref() != Some(&desired.document_with(entry));
    let update = || if unmanaged && agreed { anew(desired, Step::Abandon) } else { vec![Step::Update] };
    match unfinished {
        Some(Step::Delete) => return anew(desired, Step::Delete),
        Some(Step::Update) => return update(),
        _ if edited => return update(),
        // What cannot be read is not read; the create's answer is all that is known.
        Some(Step::Read) if !unmanaged => return vec![Step::Read],
        _ if occasion.read_back == ReadBack::Yes && !unmanaged => return vec![Step::Read],
        _ => {}
    }
    let drift = compare(desired, entry, &registration.reported);
    let new = drift.iter().any(|drift| !entry.known_drift.contains(drift));
    if new && desired.drift_policy() == DriftPolicy::Correct && !unmanaged {
        return vec![Step::Update];
    }
    credentials(desired, occasion, entry)
}

/// What is to be done about credentials alone.
fn credentials(desired: &Desired, occasion: &ReconcileInput<'_>, entry: &JournalEntry) -> Vec<Step> {
    let over = |until: u64| until <= occasion.now && !occasion.old_in_use;
    if entry.retired.iter().any(|retired| over(retired.until)) {
        return vec![Step::Retire];
    }
    if entry.keys.iter().any(|key| key.until.is_some_and(over)) {
        return vec![Step::DropKeys];
    }
    if !rotation::is_due(desired, occasion, entry) {
        return Vec::new();
    }
    match desired.key_purpose() {
        Some(_) => vec![Step::AddKey],
        None => vec![Step::Replace],
    }
}
