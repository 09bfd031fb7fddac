//! One file a command.

pub(crate) mod api_key;
pub(crate) mod compile;
mod conditions;
pub(crate) mod diff;
pub(crate) mod explain;
mod read;
pub(crate) mod test;
pub(crate) mod validate;
