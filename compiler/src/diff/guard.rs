//! What it takes to pass a rule, before and after.

use std::collections::BTreeSet;

use portreeve_policy::{
    AddressRule, Audiences, Authentication, Authenticator, Authorization, Condition, Cors, Credential, Guard, LimitKey,
    Limits, MaxTokenAge, Rate, RateLimit, RuleState, ScopeRule,
};

use super::{Change, Placed, Verdict};

/// What is other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// By which some request may pass that did not before.
    pub opens: Vec<String>,
    /// By which some request does not pass any more.
    pub closes: Vec<String>,
    /// All else.
    pub changes: Vec<String>,
}

/// Compares a rule with the one that takes its place.
pub(super) fn compare(before: Placed<'_>, after: Placed<'_>) -> Comparison {
    let mut found = Comparison::default();
    match (&before.rule.state, &after.rule.state) {
        (RuleState::Refusing(_), RuleState::Refusing(_)) => return found,
        (RuleState::Refusing(refusal), RuleState::Ready(_)) => {
            found.opens.push(format!("it refused everything before ({})", refusal.message));
            return found;
        }
        (RuleState::Ready(_), RuleState::Refusing(refusal)) => {
            found.closes.push(format!("it refuses everything ({})", refusal.message));
            return found;
        }
        (RuleState::Ready(old), RuleState::Ready(new)) => {
            let needs_caller = old.authorization.needs_caller() || old.limits.needs_caller();
            found.authentication((&old.authentication, &new.authentication), needs_caller);
            found.authorization(&old.authorization, &new.authorization);
            found.limits(&old.limits, &new.limits);
            found.sources(before, after, new);
        }
    }
    found.route(before, after);
    found
}

impl Comparison {
    pub(super) fn report(self, placed: &Placed<'_>, found: &mut BTreeSet<Change>) {
        let lists =
            [(Verdict::MoreOpen, self.opens), (Verdict::MoreClosed, self.closes), (Verdict::Changed, self.changes)];
        for (verdict, list) in lists {
            let change = |what| Change { route: placed.name.clone(), rule: placed.rule.name.clone(), verdict, what };
            found.extend(list.into_iter().map(change));
        }
    }

    fn authentication(&mut self, (old, new): (&Authentication, &Authentication), old_needs_caller: bool) {
        let list = |one: &Authentication| match one {
            Authentication::Anonymous => None,
            Authentication::AnyOf(list) => Some(list.clone()),
        };
        match (list(old), list(new)) {
            (None, None) => {}
            (Some(_), None) => self.opens.push("authentication: nobody is asked any more".to_owned()),
            (None, Some(_)) => {
                self.closes.push("authentication: credentials are demanded".to_owned());
                // Nobody has no scope: what no request could satisfy, some can now.
                if old_needs_caller {
                    self.opens.push("authentication: conditions that need a caller can be satisfied now".to_owned());
                }
            }
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                // The first alternative that is there decides, so that their order counts.
                let narrower = implied(&new, &old);
                let wider = implied(&old, &new);
                match (narrower, wider) {
                    (true, true) => {}
                    (true, false) => self.closes.push("authentication: fewer credentials are accepted".to_owned()),
                    (false, true) => self.opens.push("authentication: more credentials are accepted".to_owned()),
                    (false, false) => {
                        self.opens.push(
                            "authentication: other credentials are accepted, which counts as more open".to_owned(),
                        );
                    }
                }
            }
        }
    }

    fn authorization(&mut self, old: &Authorization, new: &Authorization) {
        let (old, new) = (old.conditions(), new.conditions());
        for condition in old.iter().filter(|condition| !new.iter().any(|held| implies(held, condition))) {
            let why = match new.iter().find(|held| word(held) == word(condition)) {
                None => format!("{} is not demanded any more", word(condition)),
                Some(held) if implies(condition, held) => format!("{} demands less", word(condition)),
                Some(_) => format!("{} demands something else, which counts as more open", word(condition)),
            };
            self.opens.push(why);
        }
        for condition in new.iter().filter(|condition| !old.iter().any(|held| implies(held, condition))) {
            self.closes.push(format!("{} is demanded, or demands more", word(condition)));
        }
    }

    fn limits(&mut self, old: &Limits, new: &Limits) {
        if old == new {
            return;
        }
        let holds = |tight: &Limits, wide: &Limits| match (tight.rules(), wide.rules()) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(tight), Some(wide)) => {
                tight.spike_arrest == wide.spike_arrest
                    && tight.policy == wide.policy
                    && wide
                        .rate_limits
                        .iter()
                        .all(|limit| tight.rate_limits.iter().any(|held| is_as_tight(held, limit)))
            }
        };
        match (holds(new, old), holds(old, new)) {
            (true, true) => {}
            (true, false) => self.closes.push("limits: they are tighter".to_owned()),
            (false, true) => self.opens.push("limits: they are wider, or gone".to_owned()),
            (false, false) => self.opens.push("limits: they are others, which counts as more open".to_owned()),
        }
    }

    /// What the rule takes from elsewhere: token services, and who is in its Secrets.
    fn sources(&mut self, before: Placed<'_>, after: Placed<'_>, guard: &Guard) {
        let services: BTreeSet<_> = guard.token_services().collect();
        for name in services {
            let of = |placed: Placed<'_>| placed.snapshot.token_services.get(name).cloned();
            if of(before) != of(after) {
                self.opens
                    .push(format!("TokenService {name}: its keys or settings are others, which counts as more open"));
            }
        }
        let secrets: BTreeSet<_> = guard.secrets().collect();
        for name in secrets {
            let of = |placed: Placed<'_>| placed.snapshot.secrets.get(name).map(|secret| secret.expose().to_vec());
            if of(before) != of(after) {
                self.opens.push(format!("Secret {name}: its content is another, which counts as more open"));
            }
        }
    }

    /// What the route says of requests before a policy looks at them, and of the application.
    fn route(&mut self, before: Placed<'_>, after: Placed<'_>) {
        let (old, new) = (before.route, after.route);
        if old.client_address != new.client_address {
            self.opens.push("clientAddress: others are believed, which counts as more open".to_owned());
        }
        if old.cors != new.cors {
            match (&old.cors, &new.cors) {
                (_, Cors::Refuse) => self.closes.push("cors: preflights are refused".to_owned()),
                (Cors::Refuse | Cors::Answer(_) | Cors::Passthrough, _) => {
                    self.opens.push("cors: other origins or headers may be allowed".to_owned());
                }
            }
        }
        if !new.pass_headers.is_subset(&old.pass_headers) {
            self.opens.push("passHeaders: more fields pass".to_owned());
        } else if old.pass_headers != new.pass_headers {
            self.closes.push("passHeaders: fewer fields pass".to_owned());
        }
        let (was, is) = (&before.rule.upgrades, &after.rule.upgrades);
        if !is.is_subset(was) {
            self.opens.push("upgrades: more protocol switches pass".to_owned());
        } else if was != is {
            self.closes.push("upgrades: fewer protocol switches pass".to_owned());
        }
        if old.upstream != new.upstream {
            self.changes.push("upstream: requests go elsewhere, or in another form".to_owned());
        }
        if before.rule.timeout != after.rule.timeout {
            self.changes.push("timeout: another time limit".to_owned());
        }
        if before.rule.shadows != after.rule.shadows {
            self.changes.push("dry run: other policies are tried".to_owned());
        }
    }
}

/// Whether what a rule decides depends on which of its matches a request met.
pub(super) fn looks_at_the_match(placed: Placed<'_>) -> bool {
    let Some(guard) = placed.rule.state.guard() else { return false };
    let by_condition = guard.authorization.conditions().iter().any(|condition| match condition {
        Condition::Cedar(_) | Condition::External(_) | Condition::Request(_) => true,
        Condition::Addresses(_) | Condition::Claims(_) | Condition::Hours(_) | Condition::Scopes(_) => false,
    });
    let keys = guard.limits.rules().into_iter().flat_map(|rules| &rules.rate_limits).flat_map(|limit| &limit.key);
    by_condition || keys.into_iter().any(|key| matches!(key, LimitKey::PathParameter(_)))
}

/// Whether the alternatives of `narrow` are the first ones of `wide`. The first alternative whose credentials are there
/// decides, and its refusal is final: one that is taken out from before another lets the other one decide.
fn implied(narrow: &[Authenticator], wide: &[Authenticator]) -> bool {
    narrow.len() <= wide.len() && narrow.iter().zip(wide).all(|(one, other)| is_as_narrow(one, other))
}

fn is_as_narrow(one: &Authenticator, other: &Authenticator) -> bool {
    if one == other {
        return true;
    }
    let (Authenticator::AllOf(one), Authenticator::AllOf(other)) = (one, other) else { return false };
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_credential_as_narrow(one, other))
}

/// The same but for fewer audiences and a shorter life.
fn is_credential_as_narrow(one: &Credential, other: &Credential) -> bool {
    if one == other {
        return true;
    }
    match (one, other) {
        (Credential::Jwt(one), Credential::Jwt(other)) => {
            let mut same = one.clone();
            same.audiences.clone_from(&other.audiences);
            same.max_token_age = other.max_token_age;
            same == *other && fewer(&one.audiences, &other.audiences) && younger(one.max_token_age, other.max_token_age)
        }
        (Credential::Introspection(one), Credential::Introspection(other)) => {
            let mut same = one.clone();
            same.audiences.clone_from(&other.audiences);
            same.max_token_age = other.max_token_age;
            same == *other && fewer(&one.audiences, &other.audiences) && younger(one.max_token_age, other.max_token_age)
        }
        (
            Credential::ApiKey(_)
            | Credential::Basic(_)
            | Credential::ClientCertificate(_)
            | Credential::Digest(_)
            | Credential::Exchange(_)
            | Credential::Introspection(_)
            | Credential::Jwt(_),
            _,
        ) => false,
    }
}

fn younger(one: MaxTokenAge, other: MaxTokenAge) -> bool {
    match (one, other) {
        (_, MaxTokenAge::Unlimited) => true,
        (MaxTokenAge::Unlimited, MaxTokenAge::AtMost(_)) => false,
        (MaxTokenAge::AtMost(one), MaxTokenAge::AtMost(other)) => one <= other,
    }
}

fn fewer(few: &Audiences, many: &Audiences) -> bool {
    few.iter().all(|one| many.iter().any(|other| one == other))
}

/// Whether what satisfies the one satisfies the other.
fn implies(tight: &Condition, wide: &Condition) -> bool {
    if tight == wide {
        return true;
    }
    match (tight, wide) {
        (Condition::Scopes(tight), Condition::Scopes(wide)) => scopes_imply(tight, wide),
        (Condition::Addresses(tight), Condition::Addresses(wide)) => addresses_imply(tight, wide),
        (Condition::Claims(tight), Condition::Claims(wide)) => wide.iter().all(|rule| tight.contains(rule)),
        (
            Condition::Addresses(_)
            | Condition::Cedar(_)
            | Condition::Claims(_)
            | Condition::External(_)
            | Condition::Hours(_)
            | Condition::Request(_)
            | Condition::Scopes(_),
            _,
        ) => false,
    }
}

fn scopes_imply(tight: &ScopeRule, wide: &ScopeRule) -> bool {
    let one_is_there = || {
        !tight.all_of.is_disjoint(&wide.any_of) || (!tight.any_of.is_empty() && tight.any_of.is_subset(&wide.any_of))
    };
    wide.all_of.is_subset(&tight.all_of) && (wide.any_of.is_empty() || one_is_there())
}

fn addresses_imply(tight: &AddressRule, wide: &AddressRule) -> bool {
    let allowed = wide.allow.is_empty() || (!tight.allow.is_empty() && tight.allow.is_subset(&wide.allow));
    allowed && wide.deny.is_subset(&tight.deny)
}

/// A limit of the same key that admits no more.
fn is_as_tight(tight: &RateLimit, wide: &RateLimit) -> bool {
    let same = (&tight.name, &tight.key, tight.absent_key) == (&wide.name, &wide.key, wide.absent_key);
    same && wide.rates.iter().all(|rate| tight.rates.iter().any(|held| is_as_slow(held, rate)))
}

fn is_as_slow(slow: &Rate, fast: &Rate) -> bool {
    slow.per() == fast.per() && slow.requests() <= fast.requests() && slow.burst() <= fast.burst()
}

fn word(condition: &Condition) -> &'static str {
    match condition {
        Condition::Request(_) => "authorization.request",
        Condition::Addresses(_) => "authorization.clientAddresses",
        Condition::Hours(_) => "authorization.timeWindows",
        Condition::Scopes(_) => "authorization.scopes",
        Condition::Claims(_) => "authorization.claims",
        Condition::Cedar(_) => "authorization.cedar",
        Condition::External(_) => "authorization.external",
    }
}
