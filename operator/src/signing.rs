//! The keys with which the gateway mints tokens: one set for each namespace whose policies ask for it, made here,
//! rotated by age, handed to the compiler and published as JWK Sets.
//!
//! A set has three keys: the one in use, the one before it (tokens of it may still be about) and the next one, which is
//! published one rotation before it is used, so that no application ever meets a key that it could not have known.

mod key_set;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use portreeve_compiler::{SigningKey, minting_namespaces};
use tokio::sync::watch;

use crate::{
    clock::{SharedClock, UnixMillis},
    inventory::View,
};

pub(crate) use key_set::SigningSet;
pub(crate) use store::SigningStore;

/// Sets by namespace, as the compiler takes them.
pub(crate) type SigningKeys = Arc<BTreeMap<String, Arc<SigningKey>>>;

/// What the loop needs.
pub(crate) struct SigningInputs {
    pub(crate) views: watch::Receiver<Option<View>>,
    pub(crate) leading: watch::Receiver<bool>,
    pub(crate) store: SigningStore,
    pub(crate) clock: SharedClock,
    /// Age at which a key is replaced.
    pub(crate) rotation: Duration,
}

/// How often ages are looked at, and failed reads tried again.
const PAUSE: Duration = Duration::from_secs(30);

/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the sets for ever; `published` is what the compiler sees.
pub(crate) async fn keep_signing_keys(mut inputs: SigningInputs, published: watch::Sender<SigningKeys>) {
    let mut sets: BTreeMap<String, SigningSet> = BTreeMap::new();
    loop {
        let view = inputs.views.borrow_and_update().clone();
        let wanted = view.map(|view| minting_namespaces(&view.inventory)).unwrap_or_default();
        let leading = *inputs.leading.borrow_and_update();
        let whole = refresh(&inputs, &wanted, leading, &mut sets).await;
        let fresh: BTreeMap<_, _> = sets
            .iter()
            .filter(|(namespace, _)| wanted.contains(*namespace))
            .filter_map(|(namespace, set)| Some((namespace.clone(), Arc::new(set.signing_key(namespace)?))))
            .collect();
        published.send_if_modified(|held| {
            let changed = **held != fresh;
            if changed {
                *held = Arc::new(fresh);
            }
            changed
        });
        let open = tokio::select! {
            changed = inputs.views.changed() => changed.is_ok(),
            changed = inputs.leading.changed() => changed.is_ok(),
            () = tokio::time::sleep(if whole { PAUSE } else { RETRY }) => true,
        };
        if !open {
            return;
        }
    }
}

/// Reads what is stored, and as the leader makes what is missing and replaces what is old. Returns whether all went
/// well.
async fn refresh(
    inputs: &SigningInputs,
    wanted: &BTreeSet<String>,
    leading: bool,
    sets: &mut BTreeMap<String, SigningSet>,
) -> bool {
    let now = inputs.clock.now();
    let mut whole = true;
    for namespace in wanted {
        let due = sets.get(namespace).is_none_or(|set| set.is_due(now, inputs.rotation));
        // A follower reads again what the leader may have replaced.
        if due && let Err(fault) = renew(inputs, namespace, leading, now, sets).await {
            tracing::warn!(namespace, fault, "the gateway's signing keys cannot be kept; trying again");
            whole = false;
        }
    }
    whole
}

async fn renew(
    inputs: &SigningInputs,
    namespace: &str,
    leading: bool,
    now: UnixMillis,
    sets: &mut BTreeMap<String, SigningSet>,
) -> Result<(), String> {
    let stored = inputs.store.read(namespace).await?;
    let set = match stored {
        Some(set) if !leading || !set.is_due(now, inputs.rotation) => set,
        Some(set) => {
            let set = set.rotated(now)?;
            inputs.store.write(namespace, &set).await?;
            tracing::info!(namespace, key_id = set.key_id(), "the gateway signs with its next key");
            set
        }
        None if !leading => return Ok(()),
        None => {
            let set = SigningSet::generate(now)?;
            inputs.store.write(namespace, &set).await?;
            tracing::info!(namespace, key_id = set.key_id(), "made signing keys for the gateway");
            set
        }
    };
    sets.insert(namespace.to_owned(), set);
    Ok(())
}
