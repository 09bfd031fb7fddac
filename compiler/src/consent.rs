//! A Secret that is to leave the cluster says so itself: whoever may write an object that names it, and an address to
//! send it to, need not be somebody who may read it.

use portreeve_crds::ConditionReason;
use portreeve_policy::{NamespacedName, Secret};

use crate::{Inventory, resolve::Unresolved};

/// What a Secret may be used for, as its annotation `portreeve.dev/use` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    ClientCredentials,
    InitialAccessToken,
    SoftwareStatement,
}

impl Use {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client-credentials",
            Self::InitialAccessToken => "initial-access-token",
            Self::SoftwareStatement => "software-statement",
        }
    }
}

/// How `Inventory::secret_uses` says that the operator wrote a Secret for the ClientRegistration of that name.
pub(crate) fn written_for(registration: &str) -> String {
    format!("registration:{registration}")
}

/// Whether a Secret lists the use; a Secret that does not exist is the caller's affair.
pub(crate) fn check_consent(inventory: &Inventory, object: &NamespacedName, wanted: Use) -> Result<(), Unresolved> {
    if !inventory.secrets.contains_key(object) || allows(inventory, object, wanted.as_str()) {
        return Ok(());
    }
    let word = wanted.as_str();
    let message = format!(
        "Secret {object} does not say that it may be sent to a token service; whoever owns it can annotate it with \
         portreeve.dev/use: {word}"
    );
    Err((ConditionReason::NotPermitted, message))
}

/// Whether the operator wrote the Secret for this ClientRegistration, or its owner lets it be used all the same.
pub(crate) fn check_registered(
    inventory: &Inventory,
    object: &NamespacedName,
    registration: &str,
) -> Result<(), Unresolved> {
    if allows(inventory, object, &written_for(registration)) {
        return Ok(());
    }
    check_consent(inventory, object, Use::ClientCredentials)
}

fn allows(inventory: &Inventory, object: &NamespacedName, word: &str) -> bool {
    inventory.secret_uses.get(object).is_some_and(|uses| uses.contains(word))
}

/// The text under a key of a Secret that consents; `None` where there is none.
pub(crate) fn consenting_text(
    inventory: &Inventory,
    object: &NamespacedName,
    key: &str,
    wanted: Use,
) -> Result<Option<Secret>, Unresolved> {
    check_consent(inventory, object, wanted)?;
    let held = inventory.secrets.get(object).and_then(|secret| secret.get(key));
    Ok(held.filter(|held| held.expose_str().is_some_and(|text| !text.trim().is_empty())).cloned())
}
