//! The journal: bytes that outlive the process.

use std::sync::{Arc, Mutex, PoisonError};

use portreeve_registration::{Journal, JournalEntry, JournalError, JournalFault, Secret};

use super::{Sabotage, failpoint::Failpoint};

/// What is stored.
pub(super) type Bytes = Arc<Mutex<Option<Vec<u8>>>>;

/// The journal as one process sees it.
pub(super) struct FakeJournal {
    pub(super) bytes: Bytes,
    pub(super) failpoint: Arc<Failpoint>,
    pub(super) sabotage: Sabotage,
}

/// What is stored now.
pub(super) fn stored(bytes: &Bytes) -> Result<JournalEntry, JournalError> {
    let held = bytes.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(held) = held.as_deref() else { return Ok(JournalEntry::default()) };
    JournalEntry::from_bytes(held).map_err(|fault| JournalError::new(JournalFault::Corrupt, &fault.to_string()))
}

impl FakeJournal {
    fn put(&self, entry: &JournalEntry) {
        let mut entry = entry.clone();
        match self.sabotage {
            Sabotage::ForgottenIntents => entry.intent = None,
            Sabotage::StaleTokens => keep_token(&mut entry, stored(&self.bytes).ok()),
            Sabotage::HollowUpdates | Sabotage::None => {}
        }
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry.to_bytes().to_vec());
    }
}

fn keep_token(entry: &mut JournalEntry, before: Option<JournalEntry>) {
    let token: Option<Secret> =
        before.and_then(|before| before.registration).and_then(|own| own.registration_access_token);
    if let (Some(own), Some(token)) = (&mut entry.registration, token) {
        own.registration_access_token = Some(token);
        entry.previous_token = None;
    }
}

impl Journal for FakeJournal {
    async fn load(&mut self) -> Result<JournalEntry, JournalError> {
        self.failpoint.pass("before load").await;
        let entry = stored(&self.bytes)?;
        self.failpoint.pass("after load").await;
        Ok(entry)
    }

    async fn store(&mut self, entry: &JournalEntry) -> Result<(), JournalError> {
        let what = entry.intent.as_ref().map_or_else(|| "a result".to_owned(), |i| format!("the intent to {}", i.step));
        self.failpoint.pass(&format!("before the store of {what}")).await;
        self.put(entry);
        self.failpoint.pass(&format!("after the store of {what}")).await;
        Ok(())
    }

    async fn clear(&mut self) -> Result<(), JournalError> {
        self.failpoint.pass("before clear").await;
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.failpoint.pass("after clear").await;
        Ok(())
    }
}
