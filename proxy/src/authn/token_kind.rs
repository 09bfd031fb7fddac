//! What a token, or the answer about one, says of its own kind. Servers mark refresh, ID and logout tokens in many ways;
//! none of them is an access token in any (RFC 8725 section 3.12, bug class J16).

use serde_json::{Map, Value};

/// Members by which servers name the kind of a token: Keycloak `typ`, Amazon Cognito and Ory Hydra `token_use`, ForgeRock
/// `tokenName`, RFC 6749 section 5.1 `token_type`, and their kin. What they say has to be a name of access tokens.
const NAMED: [&str; 8] =
    ["typ", "token_type", "token_use", "token_usage", "tokenName", "token_name", "tokenType", "token_kind"];

/// Names of access tokens, and of how they are sent, in letters and digits of lower case.
const ACCESS: [&str; 8] =
    ["access", "accesstoken", "applicationatjwt", "atjwt", "bearer", "bearertoken", "dpop", "jwt"];

/// Members that may mean something else too: only a name of another kind counts.
const GENERIC: [&str; 5] = ["kind", "purpose", "tty", "type", "use"];

/// Names of other kinds, spelled like [`ACCESS`].
const OTHER: [&str; 14] = [
    "backchannellogout",
    "clientassertion",
    "dpopproof",
    "id",
    "idtoken",
    "logout",
    "logouttoken",
    "offline",
    "offlinetoken",
    "refresh",
    "refreshtoken",
    "registrationaccesstoken",
    "securityevent",
    "tokenintrospection",
];

/// Claims that ID tokens and logout tokens have and access tokens have not (OpenID Connect Core sections 3.1.3.6 and
/// 3.3.2.11, Back-Channel Logout section 2.4).
const FOREIGN_CLAIMS: [&str; 4] = ["at_hash", "c_hash", "s_hash", "events"];

/// Whether claims, or the members of an answer, speak of another token than an access token. `typed`: the header names
/// an access token (RFC 9068 section 2.1), so that claims of ID tokens beside it are those of a generous server.
pub(super) fn is_other(members: &Map<String, Value>, typed: bool) -> bool {
    let named = || NAMED.iter().filter_map(|name| members.get(*name)).filter(|value| !value.is_null());
    if named().any(|value| !value.as_str().is_some_and(|text| ACCESS.contains(&spelled(text).as_str()))) {
        return true;
    }
    let generic = GENERIC.iter().filter_map(|name| members.get(*name).and_then(Value::as_str));
    if generic.into_iter().any(|text| OTHER.contains(&spelled(text).as_str())) {
        return true;
    }
    let there = |claim: &str| members.get(claim).is_some_and(|value| !value.is_null());
    // Some servers put the nonce into access tokens too; those say what they are.
    !typed && (FOREIGN_CLAIMS.into_iter().any(there) || (there("nonce") && named().next().is_none()))
}

/// Letters and digits in lower case; of a URN only what it ends with.
fn spelled(text: &str) -> String {
    let last = text.rsplit(':').next().unwrap_or_default();
    last.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn j16_refresh_id_and_logout_tokens_are_known_by_any_of_their_marks() {
        for (members, other, typed_other) in [
            (json!({}), false, false),
            (json!({"typ": "Bearer", "nonce": "n"}), false, false),
            (json!({"typ": "at+jwt"}), false, false),
            (json!({"token_type": "Bearer", "typ": null}), false, false),
            (json!({"token_type": "DPoP"}), false, false),
            (json!({"token_type": "urn:ietf:params:oauth:token-type:access_token"}), false, false),
            (json!({"token_use": "access"}), false, false),
            (json!({"tokenName": "access_token"}), false, false),
            (json!({"purpose": "billing", "type": "user", "kind": "AccessToken"}), false, false),
            (json!({"nonce": "n"}), true, false),
            (json!({"at_hash": "x"}), true, false),
            (json!({"events": {}}), true, false),
            (json!({"typ": "Refresh"}), true, true),
            (json!({"typ": "ID"}), true, true),
            (json!({"typ": "Logout"}), true, true),
            (json!({"typ": "Offline"}), true, true),
            (json!({"typ": "Serialized-ID"}), true, true),
            (json!({"typ": 7}), true, true),
            (json!({"token_type": "refresh_token"}), true, true),
            (json!({"token_type": "urn:ietf:params:oauth:token-type:refresh_token"}), true, true),
            (json!({"token_type": "N_A"}), true, true),
            (json!({"token_type": ""}), true, true),
            (json!({"token_use": "id"}), true, true),
            (json!({"token_use": "refresh_token"}), true, true),
            (json!({"tokenName": "refresh_token"}), true, true),
            (json!({"kind": "RefreshToken"}), true, true),
            (json!({"purpose": "id_token"}), true, true),
            (json!({"token_use": "access", "kind": "IdToken"}), true, true),
        ] {
            let map = members.as_object().unwrap();
            assert_eq!((is_other(map, false), is_other(map, true)), (other, typed_other), "{members}");
        }
    }
}
