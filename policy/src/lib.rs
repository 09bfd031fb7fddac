//! The compiled policy of one workload: what the compiler emits, the wire carries and the proxy runs.
//!
//! In: nothing but values. Out: a [`Snapshot`], a closed set of named resources. There is no clock, no IO and no
//! Kubernetes here. Every shape refuses unknown fields, so an older reader never ignores what it does not understand.
//!
//! INVARIANT: no field that decides about access is an `Option` whose absence would mean "allow".

mod address;
mod authentication;
mod authorization;
mod cidr;
mod client_address;
mod cors;
mod duration;
mod field;
#[doc(hidden)]
pub mod fuzz;
pub mod gate;
mod guard;
mod hostname;
mod key_set;
mod limits;
mod matcher;
mod method;
mod name;
mod path;
pub mod reason;
mod route;
mod secret;
mod shadow;
mod snapshot;
mod token_service;

pub use address::AddressRange;
pub use authentication::{
    ApiKeyEntry, ApiKeyLocation, ApiKeyRule, ApiKeySource, Audiences, Authentication, Authenticator, BasicRule,
    BindingMethod, CertificateName, ClaimSource, ClientCertificateRule, Credential, DigestAlgorithm, DigestEntry,
    DigestRule, ExchangeGrant, ExchangeRule, ExchangeSubject, IntrospectionRule, InvalidApiKeys,
    InvalidCertificateName, InvalidUsers, JwtRule, JwtType, MaxTokenAge, MintRule, NoAudience, PasswordEntry,
    ProofRule, UpstreamToken, parse_api_keys, parse_htdigest, parse_htpasswd,
};
pub use authorization::{
    AddressRule, Authorization, CEDAR_ACTIONS, CEDAR_PRINCIPAL, CedarRead, CedarRule, ClaimAttribute, ClaimPath,
    ClaimRule, ClaimTest, ClaimType, Condition, Date, DecisionProtocol, ExternalRule, FailureMode, HeaderRule,
    HeaderTest, Hours, InvalidClaimPath, InvalidHours, InvalidScope, Judgement, NumberRange, ParameterRule,
    ParameterTest, RequestRule, Scalar, Scope, ScopeRule, TimeOfDay, TimeZoneName, Weekday, Window,
};
pub use cidr::{Cidr, InvalidCidr};
pub use client_address::{AdditionalHeader, ClientAddress, ForwardingHeader};
pub use cors::{Cors, CorsRule, InvalidOrigin, OriginPattern};
pub use duration::Millis;
pub use field::{
    FieldClass, InvalidPassedField, OVERRIDE_PREFIXES, OVERRIDES, PassedField, X_OVERRIDE_PREFIXES, X_OVERRIDES,
};
pub use guard::{Guard, Refusal, RefusalReason, RuleState};
pub use hostname::{Hostname, HostnamePattern, InvalidHostname};
pub use key_set::{InvalidKeySet, Jwk, JwkKey, KeyFault, KeySet, SignatureAlgorithm};
pub use limits::{
    AbsentKey, Admission, InvalidRate, LimitKey, LimitRules, Limits, MAX_RATES, Period, Rate, RateLimit, SpikeArrest,
};
pub use matcher::{HeaderMatch, Match, PathMatch, Reach};
pub use method::{InvalidMethod, Method};
pub use name::{InvalidName, NamespacedName, SecretName};
pub use path::{CanonicalPath, InvalidPath, PathTemplate, TemplateSegment};
pub use reason::Reason;
pub use route::{AppProtocol, ForwardedHeaders, PolicyOrigin, Route, Rule, Upgrade, Upstream};
pub use secret::Secret;
pub use shadow::Shadow;
pub use snapshot::{ResourceKind, ResourceName, Snapshot};
pub use token_service::{
    ClientAuthentication, ClientAuthenticationMethod, Dialect, EndpointAccess, Introspection, Keys, MemberAccept,
    StaleAnswers, TokenCacheLimits, TokenExchange, TokenService,
};
