//! Digests of single resources and of whole sets.

use std::fmt;

use portreeve_policy::ResourceName;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a resource's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// SHA-256 over every resource of a set: order does not matter, kind, name and content do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SetDigest([u8; 32]);

/// Not 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 32 bytes")]
pub struct InvalidDigest;

/// The digest of a set, given in the order of names.
pub fn set_digest<'a>(resources: impl Iterator<Item = (&'a ResourceName, Digest)>) -> SetDigest {
    let mut hash = Sha256::new();
    for (name, digest) in resources {
        // Neither part can hold a NUL, so no two sets give the same bytes.
        hash.update(name.kind.as_str());
        hash.update([0]);
        hash.update(&name.name);
        hash.update([0]);
        hash.update(digest.0);
    }
    SetDigest(hash.finalize().into())
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SetDigest {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = InvalidDigest;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidDigest> {
        bytes.try_into().map(Self).map_err(|_ignored: std::array::TryFromSliceError| InvalidDigest)
    }
}

impl TryFrom<&[u8]> for SetDigest {
    type Error = InvalidDigest;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidDigest> {
        bytes.try_into().map(Self).map_err(|_ignored: std::array::TryFromSliceError| InvalidDigest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
