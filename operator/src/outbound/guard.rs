//! Which addresses may be called (J14): checked after resolution, and only the checked addresses are connected to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use portreeve_policy::AddressRange;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Resolves names and refuses those that lead where no call may go.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardedResolver(pub(super) AddressRange);

/// What the resolver says when it refuses; found again in the chain of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address is not allowed")]
pub(super) struct AddressRefused;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let range = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One forbidden address spoils the name: a mix is how rebinding looks.
            if !found.iter().all(|address| may_call(address.ip(), range)) {
                return Err(AddressRefused.into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// A literal address never passes through the resolver, so it is looked at here.
pub(super) fn check_literal(url: &Url, range: AddressRange) -> Result<(), AddressRefused> {
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(AddressRefused),
    };
    if may_call(literal, range) { Ok(()) } else { Err(AddressRefused) }
}

/// Link-local (where clouds keep their metadata), unspecified and multicast addresses are never called.
fn may_call(address: IpAddr, range: AddressRange) -> bool {
    let address = address.to_canonical();
    let (never, private) = match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let reserved = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0);
            let metadata = v4.octets() == [100, 100, 100, 200];
            (
                v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || reserved || metadata,
                v4.is_private() || v4.is_loopback() || shared,
            )
        }
        IpAddr::V6(v6) => {
            let metadata = v6 == Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
            (
                v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || embeds_v4(v6) || metadata,
                v6.is_unique_local() || v6.is_loopback(),
            )
        }
    };
    !never && (!private || range == AddressRange::PrivateAndPublic)
}

/// NAT64, 6to4 and IPv4-compatible addresses reach IPv4 hosts under another name.
fn embeds_v4(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, second, ..] = segments;
    let compatible = segments.iter().take(6).all(|segment| *segment == 0) && !address.is_loopback();
    first == 0x2002 || (first == 0x64 && second == 0xff9b) || compatible && !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_that_are_nobodys_business_j14() {
        for (address, public, private) in [
            ("93.184.216.34", true, true),
            ("[2606:2800:220:1::1]", true, true),
            ("10.1.2.3", false, true),
            ("172.16.0.1", false, true),
            ("127.0.0.1", false, true),
            ("127.1", false, true),
            ("0x7f000001", false, true),
            ("2130706433", false, true),
            ("192.168.1.1", false, true),
            ("100.64.0.1", false, true),
            ("[::1]", false, true),
            ("[fd00::1]", false, true),
            ("[::ffff:10.0.0.1]", false, true),
            ("169.254.169.254", false, false),
            ("2852039166", false, false),
            ("100.100.100.200", false, false),
            ("[fd00:ec2::254]", false, false),
            ("[::ffff:169.254.169.254]", false, false),
            ("[::169.254.169.254]", false, false),
            ("[fe80::1]", false, false),
            ("0.0.0.0", false, false),
            ("[::]", false, false),
            ("224.0.0.1", false, false),
            ("[64:ff9b::a9fe:a9fe]", false, false),
            ("[2002:a9fe:a9fe::1]", false, false),
            ("255.255.255.255", false, false),
        ] {
            let url = Url::parse(&format!("https://{address}/x")).unwrap();
            assert_eq!(check_literal(&url, AddressRange::Public).is_ok(), public, "{address}");
            assert_eq!(check_literal(&url, AddressRange::PrivateAndPublic).is_ok(), private, "{address}");
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_what_they_resolve_to() {
        let resolve = |range| GuardedResolver(range).resolve("localhost".parse().unwrap());
        assert!(resolve(AddressRange::Public).await.is_err());
        assert!(resolve(AddressRange::PrivateAndPublic).await.is_ok());
    }
}
