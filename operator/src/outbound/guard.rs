//! Which addresses may be called (J14): checked after resolution, and only the checked addresses are connected to.

use std::net::{IpAddr, SocketAddr};

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
            if !found.iter().all(|address| range.admits(address.ip())) {
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
    if range.admits(literal) { Ok(()) } else { Err(AddressRefused) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_that_are_nobodys_business_j14_o5() {
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
