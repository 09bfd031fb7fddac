//! The authorization block of an ApiPolicy, from the words of the API into conditions, cheap ones first.

use std::collections::BTreeSet;

use portreeve_crds::v1alpha1::{
    AuthorizationSpec, ClaimSpec, ClientAddressesSpec, HeaderConditionSpec, PathParameterSpec, RangeSpec,
    RequestConditionSpec, RolesSpec, ScopesSpec, TimeWindowsSpec, WeekdaySpec, WindowSpec,
};
use portreeve_policy::{
    AddressRule, Authorization, Cidr, ClaimPath, ClaimRule, ClaimTest, Condition, Date, HeaderRule, HeaderTest, Hours,
    Method, NumberRange, ParameterRule, ParameterTest, RequestRule, Scalar, Scope, ScopeRule, TimeOfDay, TimeZoneName,
    Weekday, Window,
};
use serde_json::Value;

use super::Faults;

const PATH: &str = "spec.authorization";

pub(super) fn validate_authorization(faults: &mut Faults<'_>, spec: &AuthorizationSpec) -> Option<Authorization> {
    // Cedar policies and decision points refer to other objects; the pass that resolves references adds these blocks.
    let AuthorizationSpec { mode: _, request, client_addresses, time_windows, scopes, roles, claims, cedar, external } =
        spec;
    let mut conditions = Vec::new();
    if let Some(spec) = request {
        conditions.extend(validate_request(faults, spec).map(Condition::Request));
    }
    if let Some(spec) = client_addresses {
        conditions.push(Condition::Addresses(validate_addresses(faults, spec)));
    }
    if let Some(spec) = time_windows {
        conditions.extend(validate_hours(faults, spec).map(Condition::Hours));
    }
    if let Some(spec) = scopes {
        conditions.extend(validate_scopes(faults, spec).map(Condition::Scopes));
    }
    let mut rules = Vec::new();
    if let Some(spec) = roles {
        rules.extend(validate_roles(faults, spec));
    }
    for (i, spec) in claims.iter().flatten().enumerate() {
        rules.extend(validate_claim(faults, &format!("{PATH}.claims[{i}]"), spec));
    }
    if claims.as_ref().is_some_and(Vec::is_empty) {
        faults.add(format!("{PATH}.claims"), "name at least one claim");
    }
    if !rules.is_empty() {
        conditions.push(Condition::Claims(rules));
    }
    if conditions.is_empty() && cedar.is_none() && external.is_none() {
        // Nothing said is not "anyone": whoever means that leaves the block out.
        faults.add(PATH, "say at least one condition");
        return None;
    }
    Some(Authorization::AllOf(conditions))
}

fn validate_scopes(faults: &mut Faults<'_>, spec: &ScopesSpec) -> Option<ScopeRule> {
    let path = format!("{PATH}.scopes");
    let mut read = |list: &[String], field: &str| -> BTreeSet<Scope> {
        let parse =
            |(i, scope): (usize, &String)| faults.take(&format!("{path}.{field}[{i}]"), Scope::try_from(scope.clone()));
        list.iter().enumerate().filter_map(parse).collect()
    };
    let rule = ScopeRule { all_of: read(&spec.all_of, "allOf"), any_of: read(&spec.any_of, "anyOf") };
    if spec.all_of.is_empty() && spec.any_of.is_empty() {
        faults.add(path, "name at least one scope in allOf or anyOf");
        return None;
    }
    Some(rule)
}

fn validate_roles(faults: &mut Faults<'_>, spec: &RolesSpec) -> Vec<ClaimRule> {
    let at = format!("{PATH}.roles");
    if spec.all_of.is_empty() && spec.any_of.is_empty() {
        faults.add(&at, "name at least one role in allOf or anyOf");
    }
    let Some(path) = claim_path(faults, &format!("{at}.path"), &spec.path) else { return Vec::new() };
    let named = |list: &[String]| list.iter().cloned().map(Scalar::Text).collect();
    let tests = [
        (!spec.all_of.is_empty()).then(|| ClaimTest::ContainsAllOf(named(&spec.all_of))),
        (!spec.any_of.is_empty()).then(|| ClaimTest::ContainsAnyOf(named(&spec.any_of))),
    ];
    tests.into_iter().flatten().map(|test| ClaimRule { path: path.clone(), test }).collect()
}

fn validate_claim(faults: &mut Faults<'_>, at: &str, spec: &ClaimSpec) -> Option<ClaimRule> {
    let ClaimSpec { path, one_of, equals, exists, range, contains_all_of, contains_any_of } = spec;
    let path = claim_path(faults, &format!("{at}.path"), path);
    let test = match (one_of, equals, exists, range, contains_all_of, contains_any_of) {
        (Some(list), None, None, None, None, None) => scalars(faults, &format!("{at}.in"), list).map(ClaimTest::In),
        (None, Some(value), None, None, None, None) => {
            scalar(faults, &format!("{at}.equals"), value).map(ClaimTest::Equals)
        }
        (None, None, Some(wanted), None, None, None) => Some(ClaimTest::Exists(*wanted)),
        (None, None, None, Some(range), None, None) => {
            validate_range(faults, &format!("{at}.range"), range).map(ClaimTest::Range)
        }
        (None, None, None, None, Some(list), None) => {
            scalars(faults, &format!("{at}.containsAllOf"), list).map(ClaimTest::ContainsAllOf)
        }
        (None, None, None, None, None, Some(list)) => {
            scalars(faults, &format!("{at}.containsAnyOf"), list).map(ClaimTest::ContainsAnyOf)
        }
        _ => {
            faults.add(at, "say exactly one of in, equals, exists, range, containsAllOf and containsAnyOf");
            None
        }
    };
    Some(ClaimRule { path: path?, test: test? })
}

fn claim_path(faults: &mut Faults<'_>, at: &str, text: &str) -> Option<ClaimPath> {
    faults.take(at, ClaimPath::try_from(text.to_owned()))
}

fn scalar(faults: &mut Faults<'_>, at: &str, value: &Value) -> Option<Scalar> {
    let read = Scalar::try_from(value.clone()).ok();
    if read.is_none() {
        faults.add(at, "a value to compare with is a text, a number, true or false");
    }
    read
}

fn scalars(faults: &mut Faults<'_>, at: &str, list: &[Value]) -> Option<Vec<Scalar>> {
    if list.is_empty() {
        faults.add(at, "name at least one value");
        return None;
    }
    list.iter().enumerate().map(|(i, value)| scalar(faults, &format!("{at}[{i}]"), value)).collect()
}

fn validate_range(faults: &mut Faults<'_>, at: &str, spec: &RangeSpec) -> Option<NumberRange> {
    let mut bound = |field: &str, value: &Option<Value>| match value {
        None => None,
        Some(Value::Number(number)) => Some(number.clone()),
        Some(_) => {
            faults.add(format!("{at}.{field}"), "a bound is a number");
            None
        }
    };
    match (bound("min", &spec.min), bound("max", &spec.max)) {
        (Some(low), Some(high)) if low.as_f64() > high.as_f64() => {
            faults.add(at, "min is more than max: no number is in this range");
            None
        }
        (Some(low), Some(high)) => Some(NumberRange::Between(low, high)),
        (Some(low), None) => Some(NumberRange::AtLeast(low)),
        (None, Some(high)) => Some(NumberRange::AtMost(high)),
        (None, None) => {
            faults.add(at, "say min, max or both, as numbers");
            None
        }
    }
}

fn validate_addresses(faults: &mut Faults<'_>, spec: &ClientAddressesSpec) -> AddressRule {
    let at = format!("{PATH}.clientAddresses");
    let mut read = |list: &[String], field: &str| -> BTreeSet<Cidr> {
        let parse =
            |(i, range): (usize, &String)| faults.take(&format!("{at}.{field}[{i}]"), Cidr::try_from(range.clone()));
        list.iter().enumerate().filter_map(parse).collect()
    };
    let rule = AddressRule { allow: read(&spec.allow, "allow"), deny: read(&spec.deny, "deny") };
    if spec.allow.is_empty() && spec.deny.is_empty() {
        faults.add(at, "name at least one range in allow or deny");
    }
    rule
}

fn validate_hours(faults: &mut Faults<'_>, spec: &TimeWindowsSpec) -> Option<Hours> {
    let at = format!("{PATH}.timeWindows");
    let time_zone = faults.take(&format!("{at}.timeZone"), TimeZoneName::try_from(spec.time_zone.clone()));
    let mut windows = Vec::new();
    for (i, window) in spec.windows.iter().enumerate() {
        windows.extend(validate_window(faults, &format!("{at}.windows[{i}]"), window));
    }
    if spec.windows.is_empty() {
        faults.add(format!("{at}.windows"), "name at least one window");
    }
    let mut except_dates = BTreeSet::new();
    for (i, date) in spec.except_dates.iter().enumerate() {
        except_dates.extend(faults.take(&format!("{at}.exceptDates[{i}]"), Date::try_from(date.clone())));
    }
    Some(Hours { time_zone: time_zone?, windows, except_dates })
}

fn validate_window(faults: &mut Faults<'_>, at: &str, spec: &WindowSpec) -> Option<Window> {
    let from = faults.take(&format!("{at}.from"), TimeOfDay::try_from(spec.from.clone()));
    let to = faults.take(&format!("{at}.to"), TimeOfDay::try_from(spec.to.clone()));
    if from.is_some() && from == to {
        faults.add(at, "from and to are the same; a whole day is 00:00 to 24:00");
    }
    let weekday = |day: &WeekdaySpec| match day {
        WeekdaySpec::Monday => Weekday::Monday,
        WeekdaySpec::Tuesday => Weekday::Tuesday,
        WeekdaySpec::Wednesday => Weekday::Wednesday,
        WeekdaySpec::Thursday => Weekday::Thursday,
        WeekdaySpec::Friday => Weekday::Friday,
        WeekdaySpec::Saturday => Weekday::Saturday,
        WeekdaySpec::Sunday => Weekday::Sunday,
    };
    Some(Window { weekdays: spec.weekdays.iter().map(weekday).collect(), from: from?, to: to? })
}

fn validate_request(faults: &mut Faults<'_>, spec: &RequestConditionSpec) -> Option<RequestRule> {
    let at = format!("{PATH}.request");
    let mut methods = BTreeSet::new();
    for (i, method) in spec.methods.iter().enumerate() {
        methods.extend(faults.take(&format!("{at}.methods[{i}]"), Method::try_from(method.clone())));
    }
    let mut path_parameters = Vec::new();
    for (i, parameter) in spec.path_parameters.iter().enumerate() {
        path_parameters.extend(validate_parameter(faults, &format!("{at}.pathParameters[{i}]"), parameter));
    }
    let mut headers = Vec::new();
    for (i, header) in spec.headers.iter().enumerate() {
        headers.extend(validate_header(faults, &format!("{at}.headers[{i}]"), header));
    }
    if spec.methods.is_empty() && spec.path_parameters.is_empty() && spec.headers.is_empty() {
        faults.add(at, "say at least one of methods, pathParameters and headers");
        return None;
    }
    Some(RequestRule { methods, path_parameters, headers })
}

fn validate_parameter(faults: &mut Faults<'_>, at: &str, spec: &PathParameterSpec) -> Option<ParameterRule> {
    let test = match (&spec.one_of, &spec.equals_claim) {
        (Some(list), None) if !list.is_empty() => Some(ParameterTest::In(list.iter().cloned().collect())),
        (None, Some(path)) => claim_path(faults, &format!("{at}.equalsClaim"), path).map(ParameterTest::EqualsClaim),
        _ => {
            faults.add(at, "say exactly one of a non-empty in and equalsClaim");
            None
        }
    };
    test.map(|test| ParameterRule { name: spec.name.clone(), test })
}

fn validate_header(faults: &mut Faults<'_>, at: &str, spec: &HeaderConditionSpec) -> Option<HeaderRule> {
    let name = spec.name.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        faults.add(format!("{at}.name"), format!("{:?} is not a field name: letters, digits and '-'", spec.name));
        return None;
    }
    let test = match (&spec.one_of, spec.exists) {
        (Some(list), None) if !list.is_empty() => Some(HeaderTest::In(list.iter().cloned().collect())),
        (None, Some(wanted)) => Some(HeaderTest::Exists(wanted)),
        _ => {
            faults.add(at, "say exactly one of a non-empty in and exists");
            None
        }
    };
    test.map(|test| HeaderRule { name, test })
}
