//! Where outbound calls may go: one rule for operator and proxy (J14).

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Addresses that an outbound call may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressRange {
    /// Loopback, private and cluster addresses too; link-local and metadata addresses never.
    PrivateAndPublic,
    /// Globally routable addresses only.
    Public,
}

impl AddressRange {
    /// Whether this address may be called. Link-local (where clouds keep their metadata), unspecified, multicast and
    /// reserved addresses never are; nor IPv6 forms that stand for an IPv4 address elsewhere.
    pub fn admits(self, address: IpAddr) -> bool {
        let (never, private) = match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                let shared = a == 100 && (64..128).contains(&b);
                let reserved = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0);
                // Link-local is where most clouds keep their metadata; one has it here.
                let metadata = v4.octets() == [100, 100, 100, 200];
                let never = v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast();
                (never || reserved || metadata, v4.is_private() || v4.is_loopback() || shared)
            }
            IpAddr::V6(v6) => {
                let metadata = v6 == Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
                let never = v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast();
                (never || metadata || embeds_v4(v6), v6.is_unique_local() || v6.is_loopback())
            }
        };
        !never && (!private || self == Self::PrivateAndPublic)
    }
}

/// NAT64, 6to4 and IPv4-compatible addresses reach IPv4 hosts under another name.
fn embeds_v4(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, second, ..] = segments;
    let compatible = segments.iter().take(6).all(|segment| *segment == 0) && !address.is_loopback();
    first == 0x2002 || (first == 0x64 && second == 0xff9b) || compatible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_that_are_nobodys_business_j14() {
        for (address, public, private) in [
            ("93.184.216.34", true, true),
            ("2606:2800:220:1::1", true, true),
            ("10.1.2.3", false, true),
            ("127.0.0.1", false, true),
            ("192.168.1.1", false, true),
            ("100.64.0.1", false, true),
            ("::1", false, true),
            ("fd00::1", false, true),
            ("::ffff:10.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("2002:a9fe:a9fe::1", false, false),
            ("255.255.255.255", false, false),
            ("100.100.100.200", false, false),
            ("fd00:ec2::254", false, false),
            ("::169.254.169.254", false, false),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(AddressRange::Public.admits(parsed), public, "{address}");
            assert_eq!(AddressRange::PrivateAndPublic.admits(parsed), private, "{address}");
        }
    }
}
