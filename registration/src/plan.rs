//! From what is desired and what is observed to the steps between them. Pure: no call, no clock.

#[cfg(test)]
mod tests;

use crate::{Deletion, Desired, JournalEntry, Registration, Step, compare};

/// Whether the server shall be asked how it describes the client now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// What the journal says is enough.
    No,
    /// Read the client once, unless another step brings its description anyway.
    Yes,
}

/// What is known of the client: the journal, with the answer of the last read in it, and whether to read again.
#[derive(Clone, Copy)]
pub struct Observed<'a> {
    entry: &'a JournalEntry,
    read_back: ReadBack,
}

// === impl Observed ===

impl<'a> Observed<'a> {
    /// Looks at a journal entry.
    pub fn new(entry: &'a JournalEntry, read_back: ReadBack) -> Self {
        Self { entry, read_back }
    }
}

/// The steps that lead from `observed` to `desired`, in order; none when they agree. After the steps the caller plans
/// again, because an answer may ask for more (a read that finds drift is followed by an update).
///
/// | desired | observed | steps |
/// |---|---|---|
/// | Keep | no client, whether or not a create has no recorded answer | Create |
/// | Keep | a deletion was begun | Delete, Create |
/// | Keep | an update has no recorded answer, or other metadata was sent last | Update |
/// | Keep | a read has no recorded answer, or a read is wanted | Read |
/// | Keep | drift that was not there after the last update | Update |
/// | Delete | a client | Delete, Forget |
/// | Delete | something else in the journal | Forget |
/// | Retain | anything | none |
///
/// INVARIANT: drift that the server keeps through an update is not updated again, so no server makes us PUT for ever.
pub fn plan(desired: &Desired, observed: &Observed<'_>) -> Vec<Step> {
    let Observed { entry, read_back } = observed;
    match (desired.deletion(), &entry.registration) {
        (Deletion::Delete, Some(_)) => vec![Step::Delete, Step::Forget],
        (Deletion::Delete, None) if entry.is_blank() => Vec::new(),
        (Deletion::Delete, None) => vec![Step::Forget],
        (Deletion::Keep, None) => vec![Step::Create],
        (Deletion::Keep, Some(registration)) => keep(desired, entry, registration, *read_back),
        (Deletion::Retain, _) => Vec::new(),
    }
}

fn keep(desired: &Desired, entry: &JournalEntry, registration: &Registration, read_back: ReadBack) -> Vec<Step> {
    let unfinished = entry.intent.as_ref().map(|intent| intent.step);
    let edited = entry.last_sent.as_ref() != Some(desired.document());
    match (unfinished, read_back) {
        (Some(Step::Delete), _) => vec![Step::Delete, Step::Create],
        (Some(Step::Update), _) => vec![Step::Update],
        _ if edited => vec![Step::Update],
        (Some(Step::Read), _) | (_, ReadBack::Yes) => vec![Step::Read],
        (Some(Step::Create | Step::Forget) | None, ReadBack::No) => {
            let new = compare(desired, &registration.reported).iter().any(|drift| !entry.known_drift.contains(drift));
            if new { vec![Step::Update] } else { Vec::new() }
        }
    }
}
