"""Each oddity of a registration server, and what Portreeve makes of it."""

import re

from bench import until

ABANDON = "portreeve.dev/abandon-client"
TABLE = (
    "no-management", "no-update", "single-use", "never-rotates", "delete-200", "delete-204", "delete-401", "delete-404",
    "expiring", "drops", "changes", "fails-first", "busy-seconds", "busy-date", "html", "silent", "refuses", "foreign",
    "used-up-token", "wrong-token", "deleted-there", "locked", "edited-there", "edited-and-left", "moved", "statement",
    "keyed", "self-signed", "secret-jwt", "public",
)
METHODS = {
    "keyed": ("PrivateKeyJwt", "private_key_jwt", {"private_key", "key_id"}),
    "self-signed": ("SelfSignedTlsClientAuth", "self_signed_tls_client_auth", {"tls.crt", "tls.key"}),
    "secret-jwt": ("ClientSecretJwt", "client_secret_jwt", {"client_secret"}),
    "public": ("None", "none", set()),
}


def prepare(bench, server):
    bench.secret("dcr", token="initial")
    bench.secret("dcr-wrong", token="nonsense")
    for name in TABLE:
        base = f"{server.base}/{name}"
        secret = "dcr-wrong" if name == "wrong-token" else "dcr"
        bench.apply("TokenService", name, {
            "issuer": base, "discovery": "None",
            "endpoints": {"registration": f"{base}/reg", "token": f"{base}/token", "jwks": f"{base}/jwks"},
            "registration": {"initialAccessTokenRef": {"name": secret, "key": "token"}},
        })
        more = {"rotation": {"overlap": "3s"}} if name == "expiring" else {}
        if name in METHODS:
            more = {"method": METHODS[name][0]}
        if name == "statement":
            bench.secret("statement", jwt="a.b.c")
            more = {"softwareStatementRef": {"name": "statement", "key": "jwt"}}
        if name == "edited-and-left":
            more = {"driftPolicy": "Report"}
        client(bench, name, **more)


def client(bench, name, scope="orders:read orders:write", **more):
    metadata = {"contacts": ["shop@example.com"]}
    if name == "public":
        metadata.update(grantTypes=["authorization_code"], redirectUris=["https://shop.example.com/cb"])
    bench.client(name, name, scope=scope, metadata=metadata, **more)


def run(bench, server, told):
    told.heading("A server with every oddity")
    ready = lambda name: bench.condition(name)[0] == "True"  # noqa: E731
    check = told.check

    plain = [n for n in TABLE if n not in ("html", "silent", "refuses", "used-up-token", "wrong-token")]
    waiting = [name for name in plain if not until(lambda: ready(name), 25)]
    check("ready at every server that can be used at all", not waiting, [(n, bench.condition(n)) for n in waiting])
    many = {name: server.odd(name).made for name in plain if name not in ("expiring",)}
    check("with one client each", all(count == 1 for count in many.values()), many)
    methods(bench, server, check)
    moved(bench, server, check)
    without_management(bench, server, check)
    tokens(bench, server, check)
    waits(bench, server, check)
    refusals(bench, server, check)
    drift(bench, server, check)
    lost(bench, server, check)
    ends(bench, server, check)
    renewal(bench, server, check)


def methods(bench, server, check):
    for name, (method, spelled, keys) in METHODS.items():
        held = server.odd(name).clients[f"{name}-1"]["metadata"]
        found = set(bench.credentials(name)) - {"client_id", "issuer", "token_endpoint", "token_endpoint_auth_method", ".env"}
        jwks = len(held.get("jwks", {}).get("keys", []))
        wanted = 1 if method in ("PrivateKeyJwt", "SelfSignedTlsClientAuth") else 0
        if name != "public":  # this server makes a secret for everybody
            check(f"{method}: registered so, and the Secret has what it needs", (held["token_endpoint_auth_method"], found, jwks) == (spelled, keys, wanted), (held, found))
        else:
            check("a public client is registered so", (held["token_endpoint_auth_method"], jwks) == (spelled, 0), held)
    check("no private key leaves", not any('"d"' in str(odd.clients) or "PRIVATE" in str(odd.clients) for odd in server.odds.values()))
    statement = server.odd("statement").clients["statement-1"]["metadata"].get("software_statement")
    check("a software statement is sent along", statement == "a.b.c", statement)


def moved(bench, server, check):
    base = f"{server.base}/moved"
    bench.apply("TokenService", "moved", {
        "issuer": f"{base}/other", "discovery": "None",
        "endpoints": {"registration": f"{base}/reg", "token": f"{base}/token", "jwks": f"{base}/jwks"},
        "registration": {"initialAccessTokenRef": {"name": "dcr", "key": "token"}},
    })
    told = until(lambda: bench.condition("moved")[1] == "AnotherIssuer") and bench.condition("moved", "Stalled")[2]
    check("another issuer: told, and nothing done", told and f"{ABANDON}: moved-1" in told and server.odd("moved").made == 1, told)
    client(bench, "moved", annotations={ABANDON: "moved-1"})
    check("registered there by consent", until(lambda: bench.credentials("moved").get("client_id") == "moved-2"))


def without_management(bench, server, check):
    status = bench.condition("no-management", "Registered")
    check("no RFC 7592: told", status[1] == "Unmanaged", status)
    for name in ("no-management", "no-update"):
        client(bench, name, scope="orders:read")
        told = until(lambda: bench.condition(name)[1] == "Unmanaged") and bench.condition(name, "Stalled")
        check(f"{name}: an edit needs consent, and says how", told and told[0] == "True" and ABANDON in told[2], told)
        client(bench, name, scope="orders:read", annotations={ABANDON: f"{name}-1"})
        fresh = until(lambda: bench.credentials(name).get("client_id") == f"{name}-2")
        orphan = until(lambda: f"{name}-1" in bench.condition(name, "Registered")[2])
        check(f"{name}: with consent a new client, and the old one is reported", fresh and orphan, bench.status(name))


def tokens(bench, server, check):
    for name in ("single-use", "never-rotates"):
        for turn, scope in enumerate(("orders:read", "orders:write", "orders:read")):
            client(bench, name, scope=scope)
            until(lambda: server.odd(name).clients[f"{name}-1"]["metadata"].get("scope") == scope)
            until(lambda: bench.condition(name)[0] == "True")
        odd = server.odd(name)
        good = odd.clients[f"{name}-1"]["metadata"]["scope"] == "orders:read" and not odd.wrong
        check(f"{name}: three edits, never with a wrong token", good, odd.wrong)
    foreign = bench.journal("foreign").read_text()
    status = bench.condition("foreign", "Registered")
    check("foreign management address: never told a token, counts as unmanaged", "foreign_management_uri" in foreign and status[1] == "Unmanaged", status)


def waits(bench, server, check):
    for name in ("busy-seconds", "busy-date"):
        calls = [at for method, at, _ in server.odd(name).calls if method == "POST"]
        gap = calls[1] - calls[0]
        check(f"{name}: Retry-After is honoured", len(calls) == 2 and gap >= 1.9, f"{gap:.1f} s")
    status = bench.condition("fails-first", "Registered")
    check("5xx after which nobody knows: tried again, and told as possible orphans", status[1] == "PossibleOrphan", status)
    until(lambda: "trying again" in bench.condition("silent")[2], 15)
    status = bench.condition("silent")
    check("no answer: tried again, not stalled", status[1] == "TokenServiceUnavailable" and not bench.condition("silent", "Stalled")[0], status)


def refusals(bench, server, check):
    check("HTML instead of a client: stalled, and not asked again", bench.condition("html", "Stalled")[0] == "True" and server.odd("html").count("POST") == 1, bench.condition("html"))
    status = bench.status("refuses")
    error = status.get("lastError", {})
    check("refused metadata: the server's code and words, made harmless", error.get("error") == "invalid_client_metadata" and error.get("errorDescription") == "scope is  not  good", error)
    check("and its words are not ours", "not good" not in bench.condition("refuses")[2] and "invalid_client_metadata" in bench.condition("refuses")[2], bench.condition("refuses"))
    for name, secret in (("used-up-token", "default/dcr"), ("wrong-token", "default/dcr-wrong")):
        message = bench.condition(name)[2]
        check(f"{name}: the message names Secret and key", f'Secret {secret} key "token"' in message, message)
    bench.secret("dcr-wrong", token="initial")
    check("a corrected initial access token is used at once", until(lambda: bench.condition("wrong-token")[0] == "True"))


def drift(bench, server, check):
    for name, member in (("drops", "contacts dropped"), ("changes", "scope changed")):
        status = bench.condition(name, "MetadataAccepted")
        check(f"{name}: MetadataAccepted names it", status[0] == "False" and member in status[2], status)
    for name in ("edited-there", "edited-and-left"):
        server.odd(name).clients[f"{name}-1"]["metadata"]["scope"] = "admin"
    held = lambda: server.odd("edited-there").clients["edited-there-1"]["metadata"]["scope"]  # noqa: E731
    check("an outside edit is corrected", until(lambda: held() == "orders:read orders:write"))
    told = until(lambda: bench.condition("edited-and-left", "MetadataAccepted")[0] == "False")
    left = server.odd("edited-and-left")
    check("or only reported, as driftPolicy says", told and left.count("PUT") == 0 and left.clients["edited-and-left-1"]["metadata"]["scope"] == "admin")
    kept = {name: server.odd(name).count("PUT") for name in ("drops", "changes")}
    check("what the server keeps is not sent again and again", all(puts <= 1 for puts in kept.values()), kept)


def lost(bench, server, check):
    del server.odd("deleted-there").clients["deleted-there-1"]
    fresh = until(lambda: bench.credentials("deleted-there").get("client_id") == "deleted-there-2")
    odd = server.odd("deleted-there")
    check("a client deleted there: probed, and registered anew", fresh and odd.count("TOKEN") == 1, [c[0] for c in odd.calls])
    del odd.clients["deleted-there-2"]
    stalled = until(lambda: bench.condition("deleted-there", "Stalled")[0] == "True")
    check("but only once", stalled and odd.made == 2, bench.condition("deleted-there"))
    locked = server.odd("locked").clients["locked-1"]
    token, locked["token"] = locked["token"], "revoked"
    until(lambda: bench.condition("locked")[1] == "LockedOut")
    locked["token"] = token
    check("a lock that was lifted is noticed", until(lambda: bench.condition("locked")[0] == "True"), bench.condition("locked"))
    locked["token"] = "revoked"
    told = until(lambda: bench.condition("locked")[1] == "LockedOut") and bench.condition("locked", "Stalled")[2]
    check("a revoked registration token, and the client alive: told, with the way out", told and f"{ABANDON}: locked-1" in told, told)
    check("and the client is left alone", server.odd("locked").made == 1)
    client(bench, "locked", annotations={ABANDON: "locked-1"})
    check("until somebody agrees", until(lambda: bench.credentials("locked").get("client_id") == "locked-2"))


def ends(bench, server, check):
    for status in ("200", "204", "401", "404"):
        name = f"delete-{status}"
        bench.remove("ClientRegistration", name)
        gone = until(lambda: not bench.journal(name).exists() and not bench.credentials(name))
        check(f"{status} after delete: gone", gone and not server.odd(name).clients, bench.condition(name))
    service = "single-use"
    (bench.source / f"TokenService-{service}.json").unlink()
    bench.remove("ClientRegistration", service)
    check("deleted although its TokenService is gone", until(lambda: not server.odd(service).clients))


def renewal(bench, server, check):
    odd = server.odd("expiring")
    first = odd.made
    again = until(lambda: odd.made > first, 12)
    both = len(odd.clients)
    identifier = until(lambda: (bench.credentials("expiring").get("client_id") == f"expiring-{odd.made}") and f"expiring-{odd.made}")
    check("a secret that expires is renewed before", again and identifier, bench.status("expiring"))
    check("and the old client outlives the change", both == 2, both)
    dates = bench.status("expiring")
    check("the status tells the dates", all(re.match(r"20\d\d-", str(dates.get(k, ""))) for k in ("secretExpiresAt", "lastRotation", "nextRotation")), dates)
