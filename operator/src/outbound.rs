//! Calls to token services: one guarded client, and what is learned by it.
//!
//! INVARIANT: no call goes to an address that is not allowed, none follows a redirect, none reads without a bound, and
//! nothing of an answer reaches a log or a status but what parsed as what was asked for.

mod client;
mod discovery;
mod guard;
mod key_age;
mod memory;
mod poll;

pub(crate) use client::SsrfGuardedClient;
pub(crate) use memory::Memory;
pub(crate) use poll::{DiscoveryLoop, DiscoverySettings, Target};
