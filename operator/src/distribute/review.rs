//! Who a ServiceAccount token belongs to: asked of the API server, believed of nobody else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use portreeve_policy::NamespacedName;
use portreeve_wire::{Digest, TOKEN_AUDIENCE};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::Instant};

use super::credentials::{AuthenticationError, Credentials, ProvenPod};
use crate::{clock::UnixMillis, inventory::explain};

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Proofs by TokenReview.
pub(crate) fn by_token_review(client: Client) -> Credentials {
    let api: Api<TokenReview> = Api::all(client);
    let refused = Arc::new(Refused::new());
    Credentials::Token(Arc::new(move |token: String| {
        let (api, refused) = (api.clone(), Arc::clone(&refused));
        Box::pin(async move { review(&api, &refused, token).await })
    }))
}

async fn review(api: &Api<TokenReview>, refused: &Refused, token: String) -> Result<ProvenPod, AuthenticationError> {
    // What cannot be a token of a ServiceAccount, or was refused a moment ago, costs the API server nothing.
    if !is_plausible(&token) {
        return Err(AuthenticationError::Refused("the token is not a JWT that is bound to a time".to_owned()));
    }
    if let Some(reason) = refused.recall(&token) {
        return Err(AuthenticationError::Refused(reason));
    }
    let _turn = match refused.turns.try_acquire() {
        Ok(turn) => turn,
        Err(_busy) => {
            return Err(AuthenticationError::Unavailable(
                "the operator reviews as many tokens as it may; try again".to_owned(),
            ));
        }
    };
    let expires_at = expiry(&token);
    let key = Digest::of(token.as_bytes());
    let spec = TokenReviewSpec { audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]), token: Some(token) };
    let request = TokenReview { spec, ..TokenReview::default() };
    let answer = api.create(&PostParams::default(), &request).await;
    let answer = answer.map_err(|fault| {
        let fault = explain(&fault, "tokenreviews.authentication.k8s.io");
        tracing::error!(fault, "cannot review a token");
        AuthenticationError::Unavailable("the operator cannot review tokens now; see its log".to_owned())
    })?;
    proven(answer.status.unwrap_or_default(), expires_at).map_err(|reason| {
        refused.note(key, reason);
        AuthenticationError::Refused(reason.to_owned())
    })
}

/// Reviews at the same time. An API server answers one in some milliseconds.
const REVIEWS: usize = 16;

/// How long a refusal is remembered, and how many are.
const REFUSED_FOR: Duration = Duration::from_secs(30);
const MAX_REFUSED: usize = 4096;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// Tokens that were refused, by digest, so that a flood of one costs one review.
struct Refused {
    held: Mutex<HashMap<Digest, (Instant, &'static str)>>,
    turns: Semaphore,
}

impl Refused {
    fn new() -> Self {
        Self { held: Mutex::default(), turns: Semaphore::new(REVIEWS) }
    }

    fn recall(&self, token: &str) -> Option<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, reason) = held.get(&Digest::of(token.as_bytes()))?;
        (at.elapsed() < REFUSED_FOR).then(|| (*reason).to_owned())
    }

    fn note(&self, key: Digest, reason: &'static str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MAX_REFUSED {
            held.retain(|_, (at, _)| at.elapsed() < REFUSED_FOR);
        }
        if held.len() < MAX_REFUSED {
            held.insert(key, (Instant::now(), reason));
        }
    }
}

/// Whether a text has the form of a token that a kubelet projects: a JWT of the signed kind, with an end.
fn is_plausible(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let whole =
        |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    token.len() <= MAX_TOKEN && parts.len() == 3 && parts.iter().all(whole) && expiry(token).is_some()
}

/// Reads the answer. Pure.
fn proven(status: TokenReviewStatus, expires_at: Option<UnixMillis>) -> Result<ProvenPod, &'static str> {
    if status.authenticated != Some(true) {
        return Err("the token is not valid, or its audience is not portreeve; project one with audience portreeve");
    }
    if !status.audiences.unwrap_or_default().iter().any(|audience| audience == TOKEN_AUDIENCE) {
        return Err("the token was not made for audience portreeve; project one with that audience");
    }
    let user = status.user.unwrap_or_default();
    let account = user.username.as_deref().and_then(|name| name.strip_prefix("system:serviceaccount:"));
    let Some((namespace, _)) = account.and_then(|account| account.split_once(':')) else {
        return Err("the token is not of a ServiceAccount");
    };
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| extra.get(key).and_then(|values| values.first()).map(String::as_str);
    let (Some(pod), Some(uid)) = (one(POD_NAME), one(POD_UID)) else {
        return Err(
            "the token is not bound to a pod; use a projected volume, not a token made by kubectl create token",
        );
    };
    let name = NamespacedName::new(namespace, pod).map_err(|_fault| "the token names a pod that cannot exist")?;
    Ok(ProvenPod { name, uid: uid.to_owned(), expires_at })
}

/// `exp` of the token, read without trust: it only says when to ask for a fresh one.
fn expiry(token: &str) -> Option<UnixMillis> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let payload = base64url(token.split('.').nth(1)?)?;
    let Claims { exp } = serde_json::from_slice(&payload).ok()?;
    Some(UnixMillis(exp.saturating_mul(1000)))
}

/// base64url without padding (RFC 7515 section 2).
fn base64url(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut bytes) = (0u32, 0u32, Vec::with_capacity(text.len()));
    for symbol in text.bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn status(user: &str, audiences: &[&str], extra: &[(&str, &str)]) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(user.to_owned()),
                extra: Some(extra.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect()),
                ..UserInfo::default()
            }),
            error: None,
        }
    }

    #[test]
    fn only_a_token_of_our_audience_bound_to_a_pod_counts_o7() {
        let bound = [(POD_NAME, "orders-1"), (POD_UID, "u")];
        let account = "system:serviceaccount:shop:default";
        let good = proven(status(account, &["portreeve"], &bound), None).unwrap();
        assert_eq!((good.name.to_string().as_str(), good.uid.as_str()), ("shop/orders-1", "u"));
        for bad in [
            TokenReviewStatus::default(),
            TokenReviewStatus { authenticated: Some(false), ..status(account, &["portreeve"], &bound) },
            status(account, &["https://kubernetes.default.svc"], &bound),
            status(account, &[], &bound),
            status("alice", &["portreeve"], &bound),
            status(account, &["portreeve"], &[]),
            status(account, &["portreeve"], &[(POD_NAME, "orders-1")]),
            status(account, &["portreeve"], &[(POD_NAME, "../x"), (POD_UID, "u")]),
        ] {
            assert!(proven(bad.clone(), None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn k10_garbage_and_what_was_refused_cost_no_review() {
        let good = "e30.eyJleHAiOjE3MDAwMDAwMDB9.x";
        assert!(is_plausible(good));
        let long = format!("e30.eyJleHAiOjE3MDAwMDAwMDB9.{}", "x".repeat(MAX_TOKEN));
        for text in ["", "garbage", "a.b.c", "e30.e30.x", "e30.eyJleHAiOjE3MDAwMDAwMDB9.", &format!("{good}.x"), &long]
        {
            assert!(!is_plausible(text), "{text}");
        }
        let refused = Refused::new();
        assert_eq!(refused.recall(good), None);
        refused.note(Digest::of(good.as_bytes()), "no");
        assert_eq!(refused.recall(good).as_deref(), Some("no"));
        for i in 0..2 * MAX_REFUSED {
            refused.note(Digest::of(&i.to_le_bytes()), "no");
        }
        assert_eq!(refused.held.lock().unwrap().len(), MAX_REFUSED);
    }

    #[test]
    fn reads_when_a_token_ends() {
        assert_eq!(expiry("e30.eyJleHAiOjE3MDAwMDAwMDB9.x"), Some(UnixMillis(1_700_000_000_000)));
        for text in ["", "a.b", "e30.e30.x", "e30.!!.x"] {
            assert_eq!(expiry(text), None, "{text}");
        }
    }
}
