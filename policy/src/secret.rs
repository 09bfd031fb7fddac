//! A value that must not be shown.

use std::sync::Arc;

use zeroize::Zeroizing;

/// Secret bytes. The type has no `Debug`, no `Display` and no serde form, so that no log line, error or dump can hold
/// it by accident; the wire encodes it by name. The bytes are wiped when the last copy is dropped.
///
/// ```compile_fail
/// let secret = portreeve_policy::Secret::new(b"s3cret".to_vec());
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// fn serializable<T: serde::Serialize>(_: T) {}
/// serializable(portreeve_policy::Secret::new(b"s3cret".to_vec()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes themselves, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}
