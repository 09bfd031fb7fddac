"""Tokens of Keycloak through a proxy: signed ones with its `typ: JWT`, and the same asked about at its endpoint by a
gateway that authenticates with private_key_jwt."""

import http.server
import os
import socket
import subprocess
import threading

from bench import ROOT, until
from http_client import form, json_of, send

AUDIENCE = "https://orders.example.com"
SERVICE = {"name": "kc-tokens"}


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # the proxy's pooled connections end when it does


class Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def prepare(bench, keycloak, upstream):
    bench.apply("TokenService", "kc-tokens", {
        "issuer": keycloak.issuer, "registration": {"initialAccessTokenRef": {"name": "kc-dcr", "key": "token"}},
        "client": {"registrationRef": {"name": "kc-gateway"}},
        "introspection": {"answer": "Json", "cache": {"maxTtl": "1s"}},
    })
    bench.client("kc-gateway", "kc-tokens", "PrivateKeyJwt", "orders:read")
    bench.client("kc-caller", "kc-tokens", "ClientSecretBasic", "orders:read")
    token = {"tokenServiceRef": SERVICE, "audiences": [AUDIENCE]}
    for name, credential in (
        ("any", {"jwt": {**token, "tokenType": "Any"}}),
        ("strict", {"jwt": token}),
        ("other", {"jwt": {**token, "tokenType": "Any", "audiences": ["https://other.example.com"]}}),
        ("ask", {"introspection": token}),
    ):
        bench.apply("ApiRoute", f"kc-{name}", {
            "workloadSelector": {"matchLabels": {"app": "keycloak"}}, "upstream": {"port": upstream},
            "rules": [{"name": "all", "matches": [{"path": {"type": "PathPrefix", "value": f"/{name}"}}]}],
        })
        bench.apply("ApiPolicy", f"kc-{name}", {
            "targetRefs": [{"kind": "ApiRoute", "name": f"kc-{name}"}],
            "authentication": {"anyOf": [credential]}, "authorization": {"scopes": {"allOf": ["orders:read"]}},
        })


def start_proxy(bench, port):
    if subprocess.run(["cargo", "build", "--quiet", "-p", "portreeve-proxy"], cwd=ROOT).returncode:
        raise SystemExit("the proxy cannot be built; the messages stand above")
    program = os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "debug", "portreeve-proxy")
    environment = {
        "PORTREEVE_LISTEN": f"127.0.0.1:{port}", "PORTREEVE_ADMIN": f"127.0.0.1:{free_port()}", "PORTREEVE_WORKERS": "1",
        "PORTREEVE_OPERATOR": f"unix:{bench.state / 'operator.sock'}", "PORTREEVE_WORKLOAD": "default/keycloak-1",
        "PORTREEVE_LABELS": "app=keycloak", "PORTREEVE_RECORDS": str(bench.folder / "keycloak-records.log"),
    }
    quiet = subprocess.DEVNULL
    return subprocess.Popen([program], env=environment, stdin=quiet, stdout=quiet, stderr=quiet)


def run(bench, keycloak, told):
    told.heading("Tokens of Keycloak through a proxy")
    application = Server(("127.0.0.1", 0), Application)
    threading.Thread(target=application.serve_forever, daemon=True).start()
    prepare(bench, keycloak, application.server_address[1])
    port = free_port()
    proxy = start_proxy(bench, port)
    try:
        check_tokens(bench, keycloak, port, told.check)
    finally:
        proxy.terminate()
        proxy.wait(timeout=30)
        application.shutdown()


def add_audience(keycloak, client, audience):
    """Tokens of this client are for that audience too, from now on."""
    found = json_of(keycloak.admin("GET", f"/clients?clientId={client}"))[0]
    mapper = {
        "name": "for-the-gateway", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
        "config": {"included.custom.audience": audience, "access.token.claim": "true", "introspection.token.claim": "true"},
    }
    keycloak.admin("POST", f"/clients/{found['id']}/protocol-mappers/models", mapper)


def check_tokens(bench, keycloak, port, check):
    for name in ("kc-gateway", "kc-caller"):
        check(f"{name} is registered", until(lambda: bench.condition(name)[0] == "True", 30), bench.condition(name))
    caller = bench.credentials("kc-caller")
    fields = {"grant_type": "client_credentials", "scope": "orders:read"}
    token = json_of(form(caller["token_endpoint"], fields, (caller["client_id"], caller["client_secret"])))["access_token"]

    def answer(path, given=token):
        try:
            return send(f"http://127.0.0.1:{port}/{path}/1", headers={"authorization": f"Bearer {given}"})
        except OSError:
            return None

    def status(path, given=token):
        found = answer(path, given)
        return found and found.status

    check("its JWT is accepted where the rule takes typ JWT", until(lambda: status("any") == 200), status("any"))
    check("and refused where it wants at+jwt (RFC 9068)", status("strict") == 401, status("strict"))
    check("and refused for another audience", status("other") == 401, status("other"))
    check("a changed signature is refused", status("any", token[:-6] + "AAAAAA") == 401)
    # Keycloak calls a token active only to who is in its audience (RFC 7662 section 4 allows that).
    check("asked by a gateway that it is not for, Keycloak calls it inactive", until(lambda: status("ask") == 401), status("ask"))
    add_audience(keycloak, caller["client_id"], bench.credentials("kc-gateway")["client_id"])
    answer_for_us = form(caller["token_endpoint"], fields, (caller["client_id"], caller["client_secret"]))
    shared = json_of(answer_for_us)["access_token"]
    check("and active once the token is for it too, with private_key_jwt", status("ask", shared) == 200, status("ask", shared))
    check("an opaque token that Keycloak does not know is refused", status("ask", "opaque") == 401, status("ask", "opaque"))
