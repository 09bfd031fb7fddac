//! Where a client may be.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::Cidr;

/// Ranges from which a client may call. What is denied is denied, also where it is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressRule {
    /// The client is in one of these; empty means anywhere.
    pub allow: BTreeSet<Cidr>,
    /// The client is in none of these.
    pub deny: BTreeSet<Cidr>,
}

impl AddressRule {
    /// Whether a client at this address may call.
    pub fn admits(&self, address: IpAddr) -> bool {
        let within = |ranges: &BTreeSet<Cidr>| ranges.iter().any(|range| range.contains(address));
        (self.allow.is_empty() || within(&self.allow)) && !within(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_ranges_beat_allowed_ones_and_mapped_addresses_hide_nothing_h4() {
        let set = |list: &[&str]| list.iter().map(|text| Cidr::try_from((*text).to_owned()).unwrap()).collect();
        let both = AddressRule { allow: set(&["10.0.0.0/8", "2001:db8::/32"]), deny: set(&["10.9.0.0/16"]) };
        let only_deny = AddressRule { allow: BTreeSet::new(), deny: set(&["10.9.0.0/16"]) };
        for (address, of_both, of_deny) in [
            ("10.1.1.1", true, true),
            ("10.9.1.1", false, false),
            ("::ffff:10.9.1.1", false, false),
            ("::ffff:10.1.1.1", true, true),
            ("192.0.2.1", false, true),
            ("2001:db8::1", true, true),
            ("::1", false, true),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!((both.admits(address), only_deny.admits(address)), (of_both, of_deny), "{address}");
        }
    }
}
