//! `portreeve api-key`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::{ApiKeyEntry, Scope};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

use crate::args::Outcome;

/// What the key is to be.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiKeyArguments {
    /// Whose key it is, e.g. acme.
    consumer: String,
    /// Name of the Secret (of the ConfigMap with --sign) in the manifest.
    #[arg(long, default_value = "api-keys")]
    name: String,
    /// Namespace of the policy that will refer to it.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Days that the key counts; without it, until it is taken out. Needed with --sign.
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// A scope of the consumer; may stand several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Print the line alone, to be added to a Secret that has keys already.
    #[arg(long, conflicts_with = "sign")]
    line: bool,
    /// Make a self-contained key, signed with this private key (PKCS#8 in PEM, P-256 or Ed25519).
    #[arg(long, value_name = "FILE", requires = "audience")]
    sign: Option<PathBuf>,
    /// Audience of a self-contained key.
    #[arg(long)]
    audience: Option<String>,
}

/// Makes a key. The manifest goes to `out`; the key itself, which is shown this once, to `told`.
pub(crate) fn run(arguments: &ApiKeyArguments, out: &mut impl Write, told: &mut impl Write) -> anyhow::Result<Outcome> {
    #[expect(clippy::disallowed_methods, reason = "a key's first and last day are days of the calendar")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let end = arguments.days.map(|days| now.saturating_add(u64::from(days).saturating_mul(86_400)));
    for scope in &arguments.scopes {
        Scope::try_from(scope.clone())?;
    }
    let (key, manifest) = match &arguments.sign {
        Some(file) => signed(arguments, file, now, end)?,
        None => digested(arguments, end)?,
    };
    write!(out, "{manifest}")?;
    writeln!(told, "The key, shown only this once:\n{key}")?;
    Ok(Outcome::Clean)
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_ignored: aws_lc_rs::error::Unspecified| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(bytes)
}

/// Letters and digits only, so that a double click takes the whole of it.
fn letters<const N: usize>() -> anyhow::Result<String> {
    let alphabet: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    let mut text = String::with_capacity(N);
    while text.len() < N {
        // 248 is the largest multiple of 62 in a byte: every letter is as likely as every other.
        let drawn = random::<32>()?.into_iter().filter(|byte| *byte < 248);
        text.extend(drawn.filter_map(|byte| alphabet.get(usize::from(byte) % 62)).take(N.saturating_sub(text.len())));
    }
    Ok(text)
}

fn digested(arguments: &ApiKeyArguments, end: Option<u64>) -> anyhow::Result<(String, String)> {
    let key_id = letters::<8>()?;
    // 40 letters of 62 are 238 bits: no slow hash is needed for what cannot be guessed.
    let key = format!("{}{key_id}_{}", ApiKeyEntry::PREFIX, letters::<40>()?);
    let salt = random::<16>()?;
    let mut stored = [0; 32];
    stored.copy_from_slice(digest(&SHA256, &[&salt, key.as_bytes()].concat()).as_ref());
    let entry = ApiKeyEntry {
        consumer: arguments.consumer.clone(),
        key_id,
        salt: salt.to_vec(),
        digest: stored,
        not_before: 0,
        not_after: end.unwrap_or(u64::MAX),
        scopes: arguments.scopes.iter().filter_map(|scope| Scope::try_from(scope.clone()).ok()).collect(),
    };
    let line = entry.to_line();
    portreeve_policy::parse_api_keys(&line).with_context(|| format!("consumer {:?}", arguments.consumer))?;
    if arguments.line {
        return Ok((key, format!("{line}\n")));
    }
    let (name, namespace) = (&arguments.name, &arguments.namespace);
    let manifest = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n  keys: |\n    {line}\n"
    );
    Ok((key, manifest))
}

/// A private key and what verifies with it.
enum SigningKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let pem = fs::read(file).with_context(|| file.display().to_string())?;
        let wrong = || format!("{}: not PKCS#8 in PEM of type P-256 or Ed25519", file.display());
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem)
            .map_err(|_ignored: rustls_pki_types::pem::Error| anyhow::anyhow!(wrong()))?;
        let der = der.secret_pkcs8_der();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Self::P256)
            .or_else(|_| Ed25519KeyPair::from_pkcs8(der).map(Self::Ed25519))
            .map_err(|_ignored: aws_lc_rs::error::KeyRejected| anyhow::anyhow!(wrong()))
    }

    fn jwk(&self) -> anyhow::Result<Value> {
        let public = match self {
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::P256(pair) => pair.public_key().as_ref(),
        };
        let name = digest(&SHA256, public);
        let key_id = URL_SAFE_NO_PAD.encode(name.as_ref().get(..12).unwrap_or_default());
        Ok(match (self, public.get(1..33), public.get(33..65)) {
            (Self::Ed25519(_), ..) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": key_id, "x": URL_SAFE_NO_PAD.encode(public)})
            }
            (Self::P256(_), Some(x), Some(y)) => {
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                json!({"kty": "EC", "crv": "P-256", "kid": key_id, "x": x, "y": y})
            }
            (Self::P256(_), ..) => bail!("the public key is not on P-256"),
        })
    }

    fn sign(&self, text: &str) -> anyhow::Result<String> {
        let bytes = match self {
            Self::Ed25519(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
            Self::P256(pair) => {
                let signed = pair.sign(&SystemRandom::new(), text.as_bytes());
                let signed = signed
                    .map_err(|_ignored: aws_lc_rs::error::Unspecified| anyhow::anyhow!("the key does not sign"))?;
                signed.as_ref().to_vec()
            }
        };
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn signed(arguments: &ApiKeyArguments, file: &Path, now: u64, end: Option<u64>) -> anyhow::Result<(String, String)> {
    let Some(end) = end else { bail!("a self-contained key cannot be taken back; say --days") };
    let signer = SigningKey::read(file)?;
    let jwk = signer.jwk()?;
    let algorithm = if matches!(signer, SigningKey::P256(_)) { "ES256" } else { "EdDSA" };
    let header = json!({"alg": algorithm, "typ": "key+jwt", "kid": jwk.get("kid")});
    let mut claims = json!({
        "sub": arguments.consumer, "aud": arguments.audience, "iat": now, "exp": end, "jti": letters::<16>()?,
    });
    if let (Value::Object(claims), false) = (&mut claims, arguments.scopes.is_empty()) {
        claims.insert("scope".to_owned(), arguments.scopes.join(" ").into());
    }
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = format!("{}{text}.{}", ApiKeyEntry::PREFIX, signer.sign(&text)?);
    let (name, namespace) = (&arguments.name, &arguments.namespace);
    let set = json!({ "keys": [jwk] });
    let manifest = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata:\n  keys.json: '{set}'\n"
    );
    Ok((key, manifest))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use portreeve_policy::{KeySet, parse_api_keys};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ApiKeyArguments,
    }

    fn made(arguments: &[&str]) -> (String, String) {
        let line = Line::try_parse_from([&["api-key"], arguments].concat()).unwrap();
        let (mut out, mut told) = (Vec::new(), Vec::new());
        run(&line.arguments, &mut out, &mut told).unwrap();
        let key = String::from_utf8(told).unwrap().lines().last().unwrap().to_owned();
        (String::from_utf8(out).unwrap(), key)
    }

    #[test]
    fn the_manifest_holds_a_digest_and_never_the_key() {
        let (manifest, key) = made(&["acme", "--days", "90", "--scope", "orders:read"]);
        assert!(!manifest.contains(&key) && key.starts_with("prk_"), "{manifest}");
        let entries = parse_api_keys(manifest.lines().last().unwrap()).unwrap();
        let entry = entries.first().unwrap();
        assert_eq!(ApiKeyEntry::id_of(&key), Some(entry.key_id.as_str()));
        let digest = digest(&SHA256, &[&entry.salt, key.as_bytes()].concat());
        assert_eq!(digest.as_ref(), entry.digest);
        let (line, _) = made(&["acme", "--line"]);
        assert_eq!(parse_api_keys(&line).unwrap().len(), 1);
        assert_ne!(made(&["acme"]).1, made(&["acme"]).1);
    }

    #[test]
    fn a_self_contained_key_verifies_with_the_set_of_the_manifest() {
        let folder = std::env::temp_dir().join(format!("portreeve-api-key-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("key.pem");
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(pkcs8.as_ref());
        fs::write(&file, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
        let path = file.to_str().unwrap();
        let (manifest, key) = made(&["acme", "--days", "1", "--sign", path, "--audience", "orders"]);
        let set = manifest.split('\'').nth(1).unwrap();
        let (keys, _) = KeySet::parse(set.as_bytes()).unwrap();
        let payload = portreeve_proxy::authn::verify_jws(key.trim_start_matches("prk_"), &keys).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((claims.get("sub"), claims.get("aud")), (Some(&json!("acme")), Some(&json!("orders"))));
        drop(fs::remove_dir_all(folder));
    }
}
