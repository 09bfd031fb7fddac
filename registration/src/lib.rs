//! OAuth 2.0 dynamic client registration (RFC 7591) and management (RFC 7592) that survives a crash.
//!
//! In: what is [`Desired`], a [`Transport`] that sends requests and a [`Journal`] that keeps one entry. Out: an
//! [`Outcome`] with the client's credentials and what the server made of our metadata, or an [`Error`] that says when to
//! try again. There is no runtime, no socket and no clock here.
//!
//! # Life of a client
//!
//! ```text
//!            Create                 Update (metadata edited, or new drift)
//!   nothing ────────▶ registered ◀────────┐
//!                        │  │ └───────────┤
//!                        │  └── Read ─────┘   each answer may bring a new registration token or secret
//!                 Delete │
//!                        ▼
//!                      gone ── Forget ──▶ nothing
//! ```
//!
//! [`plan`] is a pure function from desired and observed to [`Step`]s. [`execute`] stores the intent before a call and
//! the result before anything else. [`reconcile`] joins them, and is what a caller needs.
//!
//! # What a crash can and cannot lose
//!
//! Nothing that was answered and stored. When the crash falls between the server's act and the store of its answer, the
//! protocol gives no way to ask again: RFC 7591 has neither a search nor an idempotency key, so a create is repeated and
//! the first client is reported as a [`PossibleOrphan`] with its [`Marker`]; a server that rotates the registration token
//! on each update leaves us with a dead one, so a new client takes over and the first is reported by its client_id. Any
//! other loss waits for people: [`ReconcileInput::consent`].
//!
//! # Example
//!
//! ```
//! use portreeve_registration::{
//!     ClientMetadata, Deletion, Desired, Endpoint, InsecureHttp, Journal, Keys, Outcome, ReconcileContext,
//!     ReconcileInput, Secret, Transport, reconcile,
//! };
//!
//! async fn register_shop(
//!     transport: &impl Transport,
//!     keys: &impl Keys,
//!     now: u64,
//!     journal: &mut impl Journal,
//!     initial: &Secret,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let metadata = ClientMetadata {
//!         client_name: Some("shop".to_owned()),
//!         grant_types: vec!["client_credentials".to_owned()],
//!         scope: Some("orders:read".to_owned()),
//!         ..ClientMetadata::default()
//!     }
//!     .validate()?;
//!     let endpoint = Endpoint::parse("https://login.example.com/reg", InsecureHttp::Refused)?;
//!     let desired = Desired::new(&metadata, endpoint, "1f0c…", 1, Deletion::Keep);
//!     let context = ReconcileContext { occasion: ReconcileInput::at(now, Some(initial)), transport, keys };
//!     match reconcile(&desired, &context, journal).await? {
//!         Outcome::Registered(client) => println!("{} with {} drift", client.client_id, client.drift.len()),
//!         Outcome::Gone { .. } | Outcome::Retained { .. } => println!("no client is wanted"),
//!     }
//!     Ok(())
//! }
//! ```

mod client;
mod desired;
mod drift;
mod endpoint;
mod error;
mod execute;
#[doc(hidden)]
pub mod fuzz;
mod journal;
mod keys;
mod management_failure;
mod metadata;
mod plan;
mod probe;
#[cfg(test)]
mod properties;
mod reconcile;
mod reconcile_input;
mod registered;
mod rotation;
mod secret;
mod step;
#[cfg(test)]
mod tests;
mod transport;

pub use desired::{Deletion, Desired, DriftPolicy, Marker};
pub use drift::{Drift, DriftKind, compare};
pub use endpoint::{Endpoint, InsecureHttp, InvalidEndpoint};
pub use error::{Error, Retry, ServerError, Unmanageable};
pub use execute::{Executed, Gone, execute};
pub use journal::{
    Intent, InvalidEntry, Journal, JournalEntry, JournalError, JournalFault, PossibleOrphan, RegistrationOrigin,
};
pub use keys::{ClientKey, KeyFault, KeyPurpose, Keys};
pub use management_failure::{ManagementFailure, ObstacleKind, Probe};
pub use metadata::{ClientMetadata, Document, InvalidMetadata, ValidMetadata};
pub use plan::{ReadBack, plan};
pub use reconcile::{Outcome, ReconcileContext, Registered, reconcile};
pub use reconcile_input::ReconcileInput;
pub use registered::{AnswerFault, InvalidAnswer, MAX_ANSWER, Registration, SecretExpiry};
pub use rotation::{ReplacedClient, Rotation};
pub use secret::Secret;
pub use step::Step;
pub use transport::{Delivery, Transport, TransportError};
