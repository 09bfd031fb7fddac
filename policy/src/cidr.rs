//! Address ranges (RFC 4632, RFC 4291 section 2.3).

use std::{fmt, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// A range of addresses in canonical form: no host bits, and IPv4 never in its IPv6 clothes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

/// A text that is no address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidr {
    /// Bits behind the prefix are set, so one of the two numbers is not what was meant.
    #[error("{0} has bits behind its prefix; say {1} for the range or {2} for the one address")]
    HostBits(String, String, String),
    /// Neither an address nor a range.
    #[error("{0:?} is neither an address nor a range such as 10.0.0.0/8 or 2001:db8::/32")]
    Syntax(String),
}

impl Cidr {
    /// Whether the address lies in the range. IPv4-mapped IPv6 addresses count as the IPv4 address that they are.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// With the address parser of the standard library, which reads no leading zeros: some readers take them for octal.
fn parse(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let digits = prefix.bytes().all(|b| b.is_ascii_digit());
    IpNet::new(address.parse().ok()?, prefix.parse().ok().filter(|_| digits)?).ok()
}

/// IPv4-mapped ranges become IPv4 ones, so that each range has one form.
fn canonical(range: IpNet) -> IpNet {
    if let IpNet::V6(v6) = range
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(prefix) = v6.prefix_len().checked_sub(96)
        && let Ok(range) = Ipv4Net::new(v4, prefix)
    {
        return IpNet::V4(range);
    }
    range
}

impl TryFrom<String> for Cidr {
    type Error = InvalidCidr;

    fn try_from(text: String) -> Result<Self, InvalidCidr> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address.to_canonical())));
        }
        let Some(range) = parse(&text) else { return Err(InvalidCidr::Syntax(text)) };
        if range.trunc() != range {
            let (whole, one) = (range.trunc().to_string(), range.addr().to_string());
            return Err(InvalidCidr::HostBits(text, whole, one));
        }
        Ok(Self(canonical(range)))
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_and_addresses_in_one_form_only() {
        for (text, form) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("::/0", Some("::/0")),
            ("10.1.2.3/8", None),
            ("10.0.0.0/33", None),
            ("10.0.0/8", None),
            ("010.0.0.0/8", None),
            ("localhost", None),
            ("", None),
        ] {
            let read = Cidr::try_from(text.to_owned()).ok().map(|range| range.to_string());
            assert_eq!(read.as_deref(), form, "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_the_ipv4_addresses_that_they_are_h4() {
        let range = Cidr::try_from("10.0.0.0/8".to_owned()).unwrap();
        for (address, inside) in [
            ("10.9.8.7", true),
            ("::ffff:10.9.8.7", true),
            ("11.0.0.1", false),
            ("::ffff:11.0.0.1", false),
            ("::10.9.8.7", false),
            ("2002:a09:807::1", false),
        ] {
            assert_eq!(range.contains(address.parse().unwrap()), inside, "{address}");
        }
        let everything_v6 = Cidr::try_from("::/0".to_owned()).unwrap();
        assert!(!everything_v6.contains("::ffff:10.0.0.1".parse().unwrap()));
    }
}
