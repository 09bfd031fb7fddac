//! Blocks in PEM (RFC 7468), of the one kind that is asked for.

use rustls_pki_types::pem::{PemObject, SectionKind};

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PemKind {
    Certificate,
    RevocationList,
}

/// Largest bundle, in bytes: the authorities of the web are 200 KiB.
const MAX_BYTES: usize = 1024 * 1024;

/// A block, whatever it holds.
struct Block(SectionKind);

impl PemObject for Block {
    fn from_pem(kind: SectionKind, _: Vec<u8>) -> Option<Self> {
        Some(Self(kind))
    }
}

impl PemKind {
    fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::RevocationList => "X509 CRL",
        }
    }

    /// The blocks of this kind and nothing else, for a policy is no place for what stands beside them. A text with a
    /// private key is refused: it was meant for other eyes. The fault holds nothing of the text.
    pub(crate) fn only(self, text: &str) -> Result<String, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("larger than {MAX_BYTES} bytes"));
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(format!("holds a private key beside the {}; refer to a bundle without it", self.label()));
        }
        let wanted = match self {
            Self::Certificate => SectionKind::Certificate,
            Self::RevocationList => SectionKind::Crl,
        };
        let mut count = 0_usize;
        for block in Block::pem_slice_iter(text.as_bytes()) {
            let Ok(Block(kind)) = block else { return Err(format!("holds a {} that is not PEM", self.label())) };
            count = count.saturating_add(usize::from(kind == wanted));
        }
        // Every block is whole; their text is taken as it stands.
        let blocks = self.blocks(text);
        if count == 0 || blocks.lines().filter(|line| line.starts_with("-----BEGIN")).count() != count {
            return Err(format!("holds no {} in PEM", self.label()));
        }
        Ok(blocks)
    }

    /// The lines between and with the marks.
    fn blocks(self, text: &str) -> String {
        let (begin, end) = (format!("-----BEGIN {}-----", self.label()), format!("-----END {}-----", self.label()));
        let (mut kept, mut inside) = (String::new(), false);
        for line in text.lines().map(str::trim) {
            inside |= line == begin;
            if inside {
                kept.push_str(line);
                kept.push('\n');
            }
            inside &= line != end;
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn m7_nothing_but_the_blocks_asked_for_leaves_a_bundle_s1() {
        let list = "-----BEGIN X509 CRL-----\nMIIC\n-----END X509 CRL-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nMIID\n-----END PRIVATE KEY-----\n";
        let certificate = PemKind::Certificate;
        assert_eq!(certificate.only(ONE).unwrap(), ONE);
        assert_eq!(certificate.only(&format!("password: c4n4ry\n{ONE}# c4n4ry\n{list}{ONE}")).unwrap(), ONE.repeat(2));
        assert_eq!(PemKind::RevocationList.only(&format!("{ONE}{list}")).unwrap(), list);
        for text in [
            String::new(),
            "c4n4ry".to_owned(),
            list.to_owned(),
            format!("{ONE}{key}"),
            format!("{ONE}{}", key.replace("PRIVATE", "EC PRIVATE")),
            format!("{ONE}{}", key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
            ONE.replace("MIIB", "c4n4ry!"),
            ONE.replace("-----END CERTIFICATE-----", ""),
            format!("{ONE}-----BEGIN CERTIFICATE-----\nMIIB\n"),
            ONE.repeat(MAX_BYTES / ONE.len() + 1),
        ] {
            let fault = certificate.only(&text).unwrap_err();
            assert!(!fault.contains("c4n4ry"), "{fault}");
        }
    }
}
