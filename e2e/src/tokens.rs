//! The token service from an application's side.

use anyhow::{Context as _, Result, bail, ensure};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use reqwest::Method;
use serde_json::Value;

use crate::{
    kubectl::text,
    web::{Answer, Web, send},
};

/// What an application found in its Secret.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) token_endpoint: String,
}

/// Asks for a token by client credentials (RFC 6749 section 4.4, RFC 8707).
pub(crate) async fn ask(web: &Web, of: &Credentials, scope: &str, resource: &str) -> Result<Answer> {
    let form = [("grant_type", "client_credentials"), ("scope", scope), ("resource", resource)];
    let request = web.request(Method::POST, &of.token_endpoint).basic_auth(&of.client_id, Some(&of.client_secret));
    send(request.form(&form)).await.with_context(|| format!("POST {}", of.token_endpoint))
}

/// As `ask`; the token.
pub(crate) async fn token(web: &Web, of: &Credentials, scope: &str, resource: &str) -> Result<String> {
    let answer = ask(web, of, scope, resource).await?;
    let token = text(&answer.json()?, "/access_token").to_owned();
    if token.is_empty() {
        bail!("{} at the token endpoint: {}", answer.status, answer.body);
    }
    Ok(token)
}

/// Checks signature, issuer, audience and time as an application would; gives the claims.
pub(crate) async fn verify(web: &Web, issuer: &str, audience: &str, jwt: &str) -> Result<Value> {
    let metadata = web.get(&format!("{issuer}/.well-known/openid-configuration"), None).await?.json()?;
    let keys: JwkSet = serde_json::from_value(web.get(text(&metadata, "/jwks_uri"), None).await?.json()?)?;
    ensure!(jwt.split('.').count() == 3, "three parts expected: not a JWT");
    let header = decode_header(jwt)?;
    let kid = header.kid.context("the JWT names no key")?;
    let key = keys.find(&kid).with_context(|| format!("key {kid} is not in the key set of {issuer}"))?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    Ok(decode::<Value>(jwt, &DecodingKey::from_jwk(key)?, &validation)?.claims)
}
