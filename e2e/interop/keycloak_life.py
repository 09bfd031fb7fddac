"""A registration's life at Keycloak, a token service of another family."""

import base64
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid

from bench import ROOT, until

sys.path.insert(0, str(ROOT / "e2e/demo"))
from http_client import form, json_of, send  # noqa: E402

ROTATE = "portreeve.dev/rotate"
SCOPE = "orders:read"


class Keycloak:
    def __init__(self):
        self.process = subprocess.Popen(
            [ROOT / "e2e/keycloak/run"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        self.told = None

    def wait(self):
        self.told = json.loads(self.process.stdout.readline() or "{}")
        if not self.told:
            raise SystemExit("interop: Keycloak did not start")
        self.issuer = self.told["issuer"]
        self.token_endpoint = f"{self.issuer}/protocol/openid-connect/token"

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def admin(self, method, path, body=None):
        fields = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": self.told["admin_password"]}
        token = json_of(form(self.told["admin_token_endpoint"], fields))["access_token"]
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return send(self.told["admin"] + path, method, headers, json.dumps(body) if body else None)

    def clients(self, name):
        """The clients of that name that are really there."""
        found = json_of(self.admin("GET", "/clients?max=1000"))
        return [client for client in found if client.get("name") == name]

    def token(self, credentials):
        """Status of a token request with what stands in a credentials Secret."""
        fields = {"grant_type": "client_credentials", "scope": SCOPE}
        if "private_key" in credentials:
            fields["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            fields["client_assertion"] = assertion(credentials)
            fields["client_id"] = credentials["client_id"]
            return form(credentials["token_endpoint"], fields).status
        return form(credentials["token_endpoint"], fields, (credentials["client_id"], credentials["client_secret"])).status


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def assertion(credentials):
    """A client assertion (RFC 7523) signed with the key in the Secret, by openssl."""
    now = int(time.time())
    header = {"alg": "ES256", "kid": credentials["key_id"], "typ": "JWT"}
    claims = {
        "iss": credentials["client_id"], "sub": credentials["client_id"], "aud": credentials["issuer"], "iat": now,
        "exp": now + 60, "jti": str(uuid.uuid4()),
    }
    text = b64(json.dumps(header).encode()) + b"." + b64(json.dumps(claims).encode())
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as key:
        key.write(credentials["private_key"])
        key.flush()
        der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key.name], input=text, capture_output=True, check=True).stdout
    return (text + b"." + b64(raw(der))).decode()


def raw(der):
    """From ASN.1 to the two numbers of 32 bytes that JWS wants (RFC 7518 section 3.4)."""
    parts, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        parts.append(int.from_bytes(der[at + 2:at + 2 + length], "big").to_bytes(32, "big"))
        at += 2 + length
    return b"".join(parts)


class Caller(threading.Thread):
    """A pod that asks for a token all the time, with credentials that it looks at every two seconds only."""

    def __init__(self, keycloak, bench, name):
        super().__init__(daemon=True)
        self.keycloak, self.bench, self.name_ = keycloak, bench, name
        self.calls = self.failures = 0
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            held = self.bench.credentials(self.name_)
            until_look = time.monotonic() + 2
            while time.monotonic() < until_look and not self.ending.is_set():
                self.calls += 1
                self.failures += self.keycloak.token(held) != 200
                time.sleep(0.1)

    def end(self):
        self.ending.set()
        self.join()
        return self.calls, self.failures


def prepare(bench, keycloak):
    bench.secret("kc-dcr", token=keycloak.told["initial_access_token"])
    bench.apply("TokenService", "keycloak", {
        "issuer": keycloak.issuer, "registration": {"initialAccessTokenRef": {"name": "kc-dcr", "key": "token"}},
    })
    for name, method in (("kc-basic", "ClientSecretBasic"), ("kc-key", "PrivateKeyJwt")):
        client(bench, name, method)


def client(bench, name, method, annotations=None, scope=SCOPE):
    bench.client(name, "keycloak", method, scope, annotations, {"contacts": ["a@example.com"]}, rotation={"overlap": "6s"})


def run(bench, keycloak, told):
    told.heading("The whole life of a client at Keycloak")
    check = told.check
    for name, method in (("kc-basic", "ClientSecretBasic"), ("kc-key", "PrivateKeyJwt")):
        ready = until(lambda: bench.condition(name)[0] == "True", 30)
        check(f"{method}: registered and ready", ready, bench.condition(name))
        check(f"{method}: its credentials get a token", keycloak.token(bench.credentials(name)) == 200)
        check(f"{method}: one client there", len(keycloak.clients(name)) == 1)
    honoured = bench.condition("kc-basic", "MetadataAccepted")
    check("what Keycloak does not keep is named", honoured[0] == "False" and "contacts dropped" in honoured[2], honoured)
    edit(bench, keycloak, check)
    rotate_secret(bench, keycloak, check)
    rotate_key(bench, keycloak, check)
    deleted_there(bench, keycloak, check)
    end(bench, keycloak, check)


def edit(bench, keycloak, check):
    before = bench.credentials("kc-basic")["client_id"]
    client(bench, "kc-basic", "ClientSecretBasic", scope="orders:read orders:write")
    scopes = lambda: set(keycloak.clients("kc-basic")[0].get("optionalClientScopes", []))  # noqa: E731
    check("an edit is put through", until(lambda: "orders:write" in scopes()), scopes())
    check("and the client keeps its identifier", bench.credentials("kc-basic")["client_id"] == before)
    client(bench, "kc-basic", "ClientSecretBasic")
    check("a second edit too, with the rotated token", until(lambda: "orders:write" not in scopes()), scopes())
    until(lambda: bench.condition("kc-basic")[0] == "True")


def rotate_secret(bench, keycloak, check):
    old = bench.credentials("kc-basic")
    caller = Caller(keycloak, bench, "kc-basic")
    caller.start()
    client(bench, "kc-basic", "ClientSecretBasic", {ROTATE: "now"})
    fresh = until(lambda: bench.credentials("kc-basic").get("client_id") != old["client_id"] and bench.credentials("kc-basic"))
    check("a secret is rotated on demand", fresh and keycloak.token(fresh) == 200)
    check("and the old one is still good", keycloak.token(old) == 200)
    gone = until(lambda: keycloak.token(old) != 200, 20)
    check("until the overlap is over", gone and len(keycloak.clients("kc-basic")) == 1)
    calls, failures = caller.end()
    check("a pod that called all the time never failed", calls > 20 and failures == 0, f"{failures} of {calls}")


def rotate_key(bench, keycloak, check):
    old = bench.credentials("kc-key")
    caller = Caller(keycloak, bench, "kc-key")
    caller.start()
    client(bench, "kc-key", "PrivateKeyJwt", {ROTATE: "now"})
    fresh = until(lambda: bench.credentials("kc-key").get("key_id") != old["key_id"] and bench.credentials("kc-key"))
    check("a key is rotated on demand", fresh and keycloak.token(fresh) == 200, bench.condition("kc-key"))
    check("for the same client", fresh and fresh["client_id"] == old["client_id"])
    check("and the old key is still good", keycloak.token(old) == 200)
    gone = until(lambda: keycloak.token(old) != 200, 25)
    check("until the overlap is over", gone)
    calls, failures = caller.end()
    check("a pod that called all the time never failed", calls > 20 and failures == 0, f"{failures} of {calls}")


def deleted_there(bench, keycloak, check):
    before = bench.credentials("kc-basic")["client_id"]
    keycloak.admin("DELETE", f"/clients/{keycloak.clients('kc-basic')[0]['id']}")
    fresh = until(lambda: bench.credentials("kc-basic").get("client_id") != before and bench.credentials("kc-basic"))
    check("a client deleted there is registered anew", fresh and keycloak.token(fresh) == 200, bench.condition("kc-basic"))


def end(bench, keycloak, check):
    for name in ("kc-basic", "kc-key"):
        bench.remove("ClientRegistration", name)
        gone = until(lambda: not bench.credentials(name) and not bench.journal(name).exists())
        check(f"{name}: deleted with its object, here and there", gone and not keycloak.clients(name), keycloak.clients(name))
