//! Client metadata (RFC 7591 section 2): what the caller asks for, checked before any server sees it.
//!
//! In: [`ClientMetadata`], a draft with public fields. Out: [`ValidMetadata`], the JSON document that is sent.
//! A draft that a server could only refuse, or would have to repair, is refused here, with the name of the field.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use url::{Host, Url};

use crate::KeyPurpose;

/// A JSON object with the exact member names of RFC 7591.
pub type Document = Map<String, Value>;

/// Members that have a field of their own here, or that a client may not set at all.
const RESERVED: [&str; 18] = [
    // fields of `ClientMetadata`
    "client_name",
    "client_uri",
    "contacts",
    "grant_types",
    "jwks",
    "redirect_uris",
    "response_types",
    "scope",
    "software_id",
    "software_version",
    "token_endpoint_auth_method",
    // RFC 7591 section 2.3: sent from `Desired::with_software_statement`, never as metadata
    "software_statement",
    // RFC 7591 section 3.2.1, RFC 7592 section 3
    "client_id",
    "client_id_issued_at",
    "client_secret",
    "client_secret_expires_at",
    "registration_access_token",
    "registration_client_uri",
];

/// Grant types with a short name (RFC 7591 section 2); others are absolute URIs.
const GRANT_TYPES: [&str; 5] = ["authorization_code", "client_credentials", "implicit", "password", "refresh_token"];

/// The registry of token endpoint authentication methods (RFC 7591 section 4.2, OpenID Connect Core, RFC 8705).
const METHODS: [&str; 7] = [
    "client_secret_basic",
    "client_secret_jwt",
    "client_secret_post",
    "none",
    "private_key_jwt",
    "self_signed_tls_client_auth",
    "tls_client_auth",
];

/// How a certificate's subject may be told (RFC 8705 section 2.1.2).
const SUBJECTS: [&str; 5] = [
    "tls_client_auth_san_dns",
    "tls_client_auth_san_email",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_uri",
    "tls_client_auth_subject_dn",
];

/// Largest document that is sent; an answer repeats it and is bounded by 64 KiB.
const MAX_DOCUMENT: usize = 32 * 1024;
const MAX_TEXT: usize = 2048;
const MAX_LIST: usize = 64;

/// A draft of client metadata; the field names are the member names on the wire. Empty lists and `None` mean "not asked
/// for", except that `grant_types`, `response_types` and `redirect_uris` are always sent: an absent list would mean
/// `authorization_code` and `code` to the server (RFC 7591 section 2).
///
/// Example: `ClientMetadata { client_name: Some("shop".into()), grant_types: vec!["client_credentials".into()], ..Default::default() }`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientMetadata {
    /// Name shown to people, e.g. `shop`.
    pub client_name: Option<String>,
    /// Home page, e.g. `https://shop.example.com`.
    pub client_uri: Option<String>,
    /// Ways to reach people, e.g. `[shop@example.com]`.
    pub contacts: Vec<String>,
    /// At least one, e.g. `[client_credentials]` or an absolute URI such as
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    pub grant_types: Vec<String>,
    /// Public keys of the client, a JSON Web Key Set (RFC 7517). Private and symmetric keys are refused.
    pub jwks: Option<Value>,
    /// e.g. `[https://shop.example.com/callback]`.
    pub redirect_uris: Vec<String>,
    /// e.g. `[code]`; when empty, what the grant types ask for.
    pub response_types: Vec<String>,
    /// The keys are made here and joined to the document when they exist (see [`crate::ClientKey`]); `jwks` is then left out.
    pub own_keys: bool,
    /// Scopes separated by single blanks, e.g. `orders:read orders:write`.
    pub scope: Option<String>,
    /// Identifies the software; a marker takes its place when it is left out, see [`crate::Marker`].
    pub software_id: Option<String>,
    /// Version of the software, e.g. `2.1`.
    pub software_version: Option<String>,
    /// e.g. `client_secret_basic`, which is also what `None` means.
    pub token_endpoint_auth_method: Option<String>,
    /// Members without a field here, passed through as they are, e.g. `{"org_unit": "team-a"}`, `{"logo_uri": "…"}`.
    pub vendor: BTreeMap<String, Value>,
}

/// What is wrong with a draft: the member, and the rule that it breaks. The value itself is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidMetadata {
    field: String,
    rule: &'static str,
}

/// Metadata that obeys RFC 7591, as the document that is sent. Made only by [`ClientMetadata::validate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidMetadata {
    document: Document,
    own_keys: bool,
}

// === impl InvalidMetadata ===

impl InvalidMetadata {
    fn new(field: &str, rule: &'static str) -> Self {
        Self { field: field.to_owned(), rule }
    }

    /// Name of the member, e.g. `redirect_uris`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The rule that is broken.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

// === impl ValidMetadata ===

impl ValidMetadata {
    /// The members, by their names on the wire.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What keys of the client's own are for, if they are made here.
    pub(crate) fn key_purpose(&self) -> Option<KeyPurpose> {
        let method = self.document.get("token_endpoint_auth_method").and_then(Value::as_str);
        match method {
            Some("self_signed_tls_client_auth") if self.own_keys => Some(KeyPurpose::Certificate),
            _ if self.own_keys => Some(KeyPurpose::Assertion),
            _ => None,
        }
    }
}

// === impl ClientMetadata ===

impl ClientMetadata {
    /// Checks every member and the ties between them (RFC 7591 sections 2 and 2.1); the first fault is told.
    pub fn validate(self) -> Result<ValidMetadata, InvalidMetadata> {
        let Self {
            client_name,
            client_uri,
            contacts,
            grant_types,
            jwks,
            own_keys,
            redirect_uris,
            mut response_types,
            scope,
            software_id,
            software_version,
            token_endpoint_auth_method,
            vendor,
        } = self;
        valid_grant_types(&grant_types)?;
        if response_types.is_empty() {
            response_types = implied_response_types(&grant_types);
        }
        valid_response_types(&response_types, &grant_types)?;
        valid_redirect_uris(&redirect_uris, &grant_types)?;
        list("contacts", &contacts)?;
        let method = token_endpoint_auth_method.as_deref().unwrap_or("client_secret_basic");
        let keys = own_keys || jwks.is_some() || vendor.contains_key("jwks_uri");
        valid_method(method, &grant_types, keys)?;
        valid_certificate_member(method, &vendor)?;
        if own_keys && (jwks.is_some() || vendor.contains_key("jwks_uri")) {
            return Err(InvalidMetadata::new("jwks", "keys made here and keys given exclude each other"));
        }
        scope.as_deref().map(valid_scope).transpose()?;
        client_uri.as_deref().map(valid_client_uri).transpose()?;
        jwks.as_ref().map(valid_key_set).transpose()?;
        valid_vendor(&vendor, jwks.is_some())?;

        let mut document: Document = vendor.into_iter().collect();
        for (member, value) in [
            ("client_name", client_name),
            ("client_uri", client_uri),
            ("scope", scope),
            ("software_id", software_id),
            ("software_version", software_version),
        ] {
            if let Some(value) = value {
                document.insert(member.to_owned(), Value::String(text(member, value)?));
            }
        }
        if !contacts.is_empty() {
            document.insert("contacts".to_owned(), json!(contacts));
        }
        if let Some(keys) = jwks {
            document.insert("jwks".to_owned(), keys);
        }
        document.insert("grant_types".to_owned(), json!(grant_types));
        document.insert("redirect_uris".to_owned(), json!(redirect_uris));
        document.insert("response_types".to_owned(), json!(response_types));
        document.insert("token_endpoint_auth_method".to_owned(), json!(method));
        bounded(document, own_keys)
    }
}

fn bounded(document: Document, own_keys: bool) -> Result<ValidMetadata, InvalidMetadata> {
    let valid = ValidMetadata { document, own_keys };
    if json!(valid.document).to_string().len() > MAX_DOCUMENT {
        return Err(InvalidMetadata::new("vendor", "all members together are at most 32 KiB"));
    }
    Ok(valid)
}

/// A text that is there, is not too long and has no control characters.
fn text(field: &str, text: String) -> Result<String, InvalidMetadata> {
    if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(InvalidMetadata::new(field, "a text has 1 to 2048 bytes and no control characters"));
    }
    Ok(text)
}

fn list(field: &str, values: &[String]) -> Result<(), InvalidMetadata> {
    if values.len() > MAX_LIST {
        return Err(InvalidMetadata::new(field, "a list has at most 64 values"));
    }
    if values.iter().collect::<BTreeSet<_>>().len() != values.len() {
        return Err(InvalidMetadata::new(field, "a list names nothing twice"));
    }
    values.iter().try_for_each(|value| text(field, value.clone()).map(drop))
}

fn valid_grant_types(grant_types: &[String]) -> Result<(), InvalidMetadata> {
    let field = "grant_types";
    list(field, grant_types)?;
    if grant_types.is_empty() {
        return Err(InvalidMetadata::new(field, "a client has at least one grant type"));
    }
    if !grant_types.iter().all(|grant| GRANT_TYPES.contains(&grant.as_str()) || absolute_uri(grant).is_some()) {
        return Err(InvalidMetadata::new(field, "a grant type is one of RFC 7591 section 2 or an absolute URI"));
    }
    Ok(())
}

/// RFC 7591 section 2.1: `authorization_code` goes with `code`, `implicit` with `token`, the others with nothing.
fn implied_response_types(grant_types: &[String]) -> Vec<String> {
    let pairs = [("authorization_code", "code"), ("implicit", "token")];
    let asked = pairs.into_iter().filter(|(grant, _)| grant_types.iter().any(|own| own == grant));
    asked.map(|(_, response)| response.to_owned()).collect()
}

/// RFC 7591 section 2.1, both ways round. A response type may be several words (`code id_token`).
fn valid_response_types(response_types: &[String], grant_types: &[String]) -> Result<(), InvalidMetadata> {
    let field = "response_types";
    list(field, response_types)?;
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if !response_types.iter().all(|response| response.split(' ').all(word)) {
        return Err(InvalidMetadata::new(field, "a response type is words separated by single blanks"));
    }
    let answers = |wanted: &[&str]| response_types.iter().any(|own| own.split(' ').any(|word| wanted.contains(&word)));
    let grants = |wanted: &str| grant_types.iter().any(|own| own == wanted);
    match (answers(&["code"]), grants("authorization_code")) {
        (true, false) => Err(InvalidMetadata::new(field, "code needs the grant type authorization_code")),
        (false, true) => Err(InvalidMetadata::new(field, "the grant type authorization_code needs code")),
        (true, true) | (false, false) => Ok(()),
    }?;
    match (answers(&["token", "id_token"]), grants("implicit")) {
        (true, false) => Err(InvalidMetadata::new(field, "token and id_token need the grant type implicit")),
        (false, true) => Err(InvalidMetadata::new(field, "the grant type implicit needs token or id_token")),
        (true, true) | (false, false) => Ok(()),
    }
}

fn valid_redirect_uris(redirect_uris: &[String], grant_types: &[String]) -> Result<(), InvalidMetadata> {
    let field = "redirect_uris";
    list(field, redirect_uris)?;
    let redirects = grant_types.iter().any(|grant| grant == "authorization_code" || grant == "implicit");
    if redirects && redirect_uris.is_empty() {
        return Err(InvalidMetadata::new(field, "authorization_code and implicit need a redirect URI"));
    }
    redirect_uris.iter().try_for_each(|uri| valid_redirect_uri(uri).map_err(|rule| InvalidMetadata::new(field, rule)))
}

/// https anywhere, http on loopback (RFC 8252 section 7.3), or a private-use scheme, which is a reversed domain name
/// (RFC 8252 section 7.1); never a fragment (RFC 6749 section 3.1.2).
fn valid_redirect_uri(text: &str) -> Result<(), &'static str> {
    let url = absolute_uri(text).ok_or("a redirect URI is absolute and plain ASCII")?;
    if url.fragment().is_some() {
        return Err("a redirect URI has no fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a redirect URI carries no user name or password");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let pattern = url.host_str().is_some_and(|host| host.contains('*'));
    match url.scheme() {
        "https" if pattern => Err("a redirect URI is no pattern"),
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        "http" => Err("a redirect URI with http is on loopback"),
        private if private.contains('.') => Ok(()),
        _ => Err("a private-use scheme is a reversed domain name"),
    }
}

fn valid_method(method: &str, grant_types: &[String], keys: bool) -> Result<(), InvalidMetadata> {
    let field = "token_endpoint_auth_method";
    if !METHODS.contains(&method) && absolute_uri(method).is_none() {
        return Err(InvalidMetadata::new(field, "a method is a registered one or an absolute URI"));
    }
    if matches!(method, "private_key_jwt" | "self_signed_tls_client_auth") && !keys {
        return Err(InvalidMetadata::new(field, "this method needs jwks"));
    }
    // RFC 6749 section 4.4: only confidential clients may use client credentials.
    if method == "none" && grant_types.iter().any(|grant| grant == "client_credentials") {
        return Err(InvalidMetadata::new(field, "client_credentials needs a client that authenticates"));
    }
    Ok(())
}

/// RFC 8705 section 2.1.2: a client of a certificate authority is told by exactly one member.
fn valid_certificate_member(method: &str, vendor: &BTreeMap<String, Value>) -> Result<(), InvalidMetadata> {
    let named = vendor.keys().filter(|name| SUBJECTS.contains(&name.as_str())).count();
    match (method, named) {
        ("tls_client_auth", 1) => Ok(()),
        ("tls_client_auth", _) => Err(InvalidMetadata::new(
            "token_endpoint_auth_method",
            "tls_client_auth needs exactly one tls_client_auth_ member that names the certificate's subject",
        )),
        (_, 0) => Ok(()),
        _ => {
            Err(InvalidMetadata::new("token_endpoint_auth_method", "tls_client_auth_ members go with tls_client_auth"))
        }
    }
}

/// RFC 6749 section 3.3.
fn valid_scope(scope: &str) -> Result<(), InvalidMetadata> {
    let token = |token: &str| !token.is_empty() && token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    if scope.split(' ').all(token) {
        return Ok(());
    }
    Err(InvalidMetadata::new("scope", "a scope is tokens of visible ASCII separated by single blanks"))
}

fn valid_client_uri(uri: &str) -> Result<(), InvalidMetadata> {
    match absolute_uri(uri) {
        Some(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
        Some(_) | None => Err(InvalidMetadata::new("client_uri", "a home page is an absolute http or https URL")),
    }
}

/// RFC 7517: `{"keys": […]}`, public keys only.
fn valid_key_set(keys: &Value) -> Result<(), InvalidMetadata> {
    let Some(keys) = keys.get("keys").and_then(Value::as_array) else {
        return Err(InvalidMetadata::new("jwks", "a key set is an object with a list of keys"));
    };
    let public = |key: &Value| {
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];
        key.as_object()
            .is_some_and(|key| key.contains_key("kty") && !private.iter().any(|name| key.contains_key(*name)))
    };
    if keys.is_empty() || keys.len() > MAX_LIST || !keys.iter().all(public) {
        return Err(InvalidMetadata::new(
            "jwks",
            "a key set has 1 to 64 keys, each with kty and without private parts",
        ));
    }
    Ok(())
}

fn valid_vendor(vendor: &BTreeMap<String, Value>, jwks: bool) -> Result<(), InvalidMetadata> {
    if vendor.len() > MAX_LIST {
        return Err(InvalidMetadata::new("vendor", "there are at most 64 vendor members"));
    }
    for (name, value) in vendor {
        text("vendor", name.clone())?;
        if RESERVED.contains(&name.as_str()) {
            return Err(InvalidMetadata::new(name, "a vendor member shadows no member of the standards"));
        }
        if jwks && name == "jwks_uri" {
            return Err(InvalidMetadata::new(name, "jwks and jwks_uri exclude each other")); // RFC 7591 section 2
        }
        if value.is_null() {
            return Err(InvalidMetadata::new(name, "null would delete the member; leave it out"));
        }
    }
    Ok(())
}

/// An absolute URI, written in plain ASCII so that the parser has nothing to repair in silence.
fn absolute_uri(text: &str) -> Option<Url> {
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    Url::parse(text).ok()
}
