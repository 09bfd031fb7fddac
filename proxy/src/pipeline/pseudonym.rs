//! The proxy's own name in `Via` (RFC 9110 section 7.6.3): a pseudonym of this process, so that a request that comes back
//! is known, while another proxy of ours on the way is just another proxy.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Version, header::VIA};

/// Name of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pseudonym(Arc<Texts>);

#[derive(Debug)]
struct Texts {
    name: String,
    /// What is added to a request that came in HTTP/1.0, in 1.1 and in 2, made once.
    elements: [HeaderValue; 3],
}

impl Pseudonym {
    /// `instance` is drawn at random for each process.
    pub fn new(instance: u32) -> Self {
        let name = format!("portreeve-{instance:08x}");
        let own = HeaderValue::from_static("1.1 portreeve");
        // A name of letters and digits always makes a value.
        let elements = ["1.0", "1.1", "2.0"]
            .map(|version| HeaderValue::from_str(&format!("{version} {name}")).unwrap_or_else(|_| own.clone()));
        Self(Arc::new(Texts { name, elements }))
    }

    /// Whether this process has forwarded the request before.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let elements = headers.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
        elements.into_iter().any(|element| {
            let mut words = element.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
            words.nth(1) == Some(self.0.name.as_bytes())
        })
    }

    /// Adds itself to those before it.
    pub(super) fn add_to(&self, headers: &mut HeaderMap, version: Version) {
        let [old, usual, two] = &self.0.elements;
        let element = match version {
            Version::HTTP_10 => old,
            Version::HTTP_2 => two,
            _ => usual,
        };
        headers.append(VIA, element.clone());
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
