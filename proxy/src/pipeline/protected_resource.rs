//! Metadata of protected resources (RFC 9728), made from the policies: which token services a resource trusts, which
//! scopes help, how tokens are sent.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, Uri,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use portreeve_policy::{
    Audiences, Authentication, BindingMethod, CanonicalPath, Credential, ExchangeSubject, Guard, Hostname,
    NamespacedName, ProofRule, Route,
};
use serde_json::{Map, Value, json};

use super::{AnswerBody, CanonicalRequest, challenge::scopes_of};

/// Goes between host and path of the resource (section 3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Documents by host and path.
#[derive(Default)]
pub(super) struct ProtectedResources(BTreeMap<(Hostname, CanonicalPath), Document>);

struct Document {
    body: Bytes,
}

/// What is known of one resource, gathered from every rule that takes tokens for it.
#[derive(Default)]
struct Gathered {
    issuers: BTreeSet<String>,
    scopes: BTreeSet<String>,
    certificate_bound: bool,
    dpop: bool,
    dpop_required: bool,
}

impl ProtectedResources {
    /// Gathers every resource of every route. `issuer` gives the issuer of a token service.
    pub(super) fn of<'a>(
        routes: impl Iterator<Item = &'a Route>,
        issuer: &dyn Fn(&NamespacedName) -> Option<String>,
    ) -> Self {
        let mut gathered: BTreeMap<String, Gathered> = BTreeMap::new();
        for guard in routes.flat_map(|route| &route.rules).filter_map(|rule| rule.state.guard()) {
            for (audiences, token_service, proof) in tokens(&guard.authentication) {
                for resource in audiences.iter().filter(|audience| place_of(audience).is_some()) {
                    let entry = gathered.entry(resource.to_owned()).or_default();
                    entry.issuers.extend(issuer(token_service));
                    entry.add(guard, proof);
                }
            }
        }
        let documents = gathered.into_iter().filter_map(|(resource, gathered)| {
            let body = Bytes::from(gathered.document(&resource).to_string());
            Some((place_of(&resource)?, Document { body }))
        });
        Self(documents.collect())
    }

    /// The document that a request asks for, if there is one (section 3.1: GET).
    pub(super) fn find(&self, request: &CanonicalRequest) -> Option<Response<AnswerBody>> {
        if !request.path.as_str().starts_with(WELL_KNOWN) || !matches!(request.method, Method::GET | Method::HEAD) {
            return None;
        }
        let document = self.0.get(&(request.host.clone(), request.path.clone()))?;
        let mut response = Response::new(AnswerBody::full(document.body.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
        Some(response)
    }
}

/// The address of the metadata of the first resource among a rule's audiences, for the challenge.
pub(super) fn metadata_address(guard: &Guard) -> Option<Box<str>> {
    let resource =
        tokens(&guard.authentication).flat_map(|(audiences, ..)| audiences.iter()).find(|a| place_of(a).is_some())?;
    let uri: Uri = resource.parse().ok()?;
    let path = uri.path().trim_end_matches('/');
    Some(format!("https://{}{WELL_KNOWN}{path}", uri.authority()?).into())
}

/// Where the metadata of a resource stands. `None` for an audience that is no https URL without query and fragment.
fn place_of(resource: &str) -> Option<(Hostname, CanonicalPath)> {
    if resource.contains(['#', '?', '"', '\\']) {
        return None;
    }
    let uri: Uri = resource.parse().ok()?;
    if uri.scheme_str() != Some("https") || uri.authority()?.as_str().contains('@') {
        return None;
    }
    let path = format!("{WELL_KNOWN}{}", uri.path().trim_end_matches('/'));
    Some((Hostname::parse(uri.host()?).ok()?, CanonicalPath::parse(&path).ok()?))
}

fn tokens(authentication: &Authentication) -> impl Iterator<Item = (&Audiences, &NamespacedName, Option<&ProofRule>)> {
    authentication.credentials().filter_map(|credential| match credential {
        Credential::Introspection(rule) => Some((&rule.audiences, &rule.token_service, Some(&rule.proof))),
        Credential::Jwt(rule) => Some((&rule.audiences, &rule.token_service, Some(&rule.proof))),
        // A partner's clients get their tokens from the partner.
        Credential::Exchange(rule) => match &rule.subject {
            ExchangeSubject::Jwt { partner, audiences, .. } => Some((audiences, partner, None)),
            // Who gives assertions out is no authorization server.
            ExchangeSubject::Saml { .. } => None,
        },
        Credential::ApiKey(_) | Credential::Basic(_) | Credential::ClientCertificate(_) | Credential::Digest(_) => None,
    })
}

impl Gathered {
    fn add(&mut self, guard: &Guard, proof: Option<&ProofRule>) {
        self.scopes.extend(scopes_of(&guard.authorization).map(|scope| scope.as_str().to_owned()));
        let Some(proof) = proof else { return };
        self.certificate_bound |= proof.required.contains(&BindingMethod::Certificate);
        self.dpop |= proof.required.contains(&BindingMethod::Dpop) || proof.dpop_nonce;
        self.dpop_required |= proof.required.iter().eq([&BindingMethod::Dpop]);
    }

    /// Section 2; members that say nothing are left out (section 3.2).
    fn document(&self, resource: &str) -> Value {
        let mut members = Map::new();
        members.insert("resource".to_owned(), resource.into());
        members.insert("bearer_methods_supported".to_owned(), json!(["header"]));
        for (name, list) in [("authorization_servers", &self.issuers), ("scopes_supported", &self.scopes)] {
            if !list.is_empty() {
                members.insert(name.to_owned(), list.iter().cloned().collect::<Vec<_>>().into());
            }
        }
        if self.certificate_bound {
            members.insert("tls_client_certificate_bound_access_tokens".to_owned(), true.into());
        }
        if self.dpop {
            let algorithms: Vec<_> = super::challenge::DPOP_ALGORITHMS.split(' ').collect();
            members.insert("dpop_signing_alg_values_supported".to_owned(), algorithms.into());
        }
        if self.dpop_required {
            members.insert("dpop_bound_access_tokens_required".to_owned(), true.into());
        }
        Value::Object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_between_host_and_path() {
        for (resource, place) in [
            ("https://orders.example.com", Some("orders.example.com/.well-known/oauth-protected-resource")),
            ("https://orders.example.com/", Some("orders.example.com/.well-known/oauth-protected-resource")),
            ("https://a.example.com/v1/x", Some("a.example.com/.well-known/oauth-protected-resource/v1/x")),
            ("http://orders.example.com", None),
            ("orders", None),
            ("https://a.example.com/#f", None),
            ("https://a.example.com/?q", None),
            ("https://u@a.example.com/", None),
        ] {
            let found = place_of(resource).map(|(host, path)| format!("{host}{path}"));
            assert_eq!(found.as_deref(), place, "{resource}");
        }
    }
}
