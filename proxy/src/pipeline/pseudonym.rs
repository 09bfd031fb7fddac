//! The proxy's own name in `Via` (RFC 9110 section 7.6.3): a pseudonym of this process, so that a request that comes back
//! is known, while another proxy of ours on the way is just another proxy.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Version, header::VIA};

/// Name of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pseudonym(Arc<str>);

impl Pseudonym {
    /// `instance` is drawn at random for each process.
    pub fn new(instance: u32) -> Self {
        Self(format!("portreeve-{instance:08x}").into())
    }

    /// Whether this process has forwarded the request before.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let elements = headers.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
        elements.into_iter().any(|element| {
            let mut words = element.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
            words.nth(1) == Some(self.0.as_bytes())
        })
    }

    /// Adds itself to those before it.
    pub(super) fn add_to(&self, headers: &mut HeaderMap, version: Version) {
        let version = match version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2.0",
            _ => "1.1",
        };
        if let Ok(value) = HeaderValue::from_str(&format!("{version} {}", self.0)) {
            headers.append(VIA, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l3_only_the_own_name_is_a_loop() {
        let own = Pseudonym::new(0x1234_abcd);
        for (via, loops) in [
            (&["1.1 portreeve-1234abcd"][..], true),
            (&["1.0 edge", "1.1 cdn,2.0\tportreeve-1234abcd (x)"], true),
            (&["HTTP/1.1 portreeve-1234abcd"], true),
            (&["1.1 portreeve", "1.1 portreeve-00000000", "portreeve-1234abcd"], false),
            (&["1.1 edge (portreeve-1234abcd)"], false),
            (&[], false),
        ] {
            let headers: HeaderMap = via.iter().map(|line| (VIA, line.parse().unwrap())).collect();
            assert_eq!(own.is_in(&headers), loops, "{via:?}");
        }
    }
}
