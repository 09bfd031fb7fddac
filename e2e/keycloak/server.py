"""One Keycloak on loopback, with a realm of its own in memory."""

import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from distribution import Missing

HOST = "127.0.0.1"
WITHIN = 120  # seconds for the start; it takes about 12
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    def __init__(self, home):
        self.home = home
        self.realm = os.environ.get("REALM", "portreeve")
        self.port = int(os.environ.get("PORT", "0")) or free_port()
        self.base = f"http://{HOST}:{self.port}"
        self.password = secrets.token_urlsafe(24)
        self.process = None
        self.log = None
        self.stopping = False

    def start(self):
        """Starts it and makes the realm; returns what the caller is told."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.asked_to_stop)
        self.log = tempfile.NamedTemporaryFile("w", prefix="portreeve-keycloak-", suffix=".log", delete=False)
        command = [
            self.home / "bin/kc.sh", "start", "--optimized", "--http-enabled=true", f"--http-host={HOST}",
            f"--http-port={self.port}", f"--hostname={self.base}", "--log-level=warn",
        ]
        environment = {
            **os.environ, "KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": self.password,
            "JAVA_OPTS_KC_HEAP": "-Xms96m -Xmx640m",
        }
        self.process = subprocess.Popen(
            list(map(str, command)), env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        self.wait_until_up()
        token = self.admin_token()
        lifetime = int(os.environ.get("ACCESS_TOKEN_TTL", "300"))
        self.call("POST", "/admin/realms", token, {
            "realm": self.realm, "enabled": True, "sslRequired": "none", "accessTokenLifespan": lifetime,
        })
        initial = self.call(
            "POST", f"/admin/realms/{self.realm}/clients-initial-access", token, {"count": 100_000, "expiration": 86_400},
        )
        self.add_scopes(token)
        self.lift_scope_policy(token)
        return {
            "issuer": f"{self.base}/realms/{self.realm}", "initial_access_token": initial["token"],
            "admin": f"{self.base}/admin/realms/{self.realm}", "admin_password": self.password,
            "admin_token_endpoint": f"{self.base}/realms/master/protocol/openid-connect/token", "log": self.log.name,
        }

    def add_scopes(self, token):
        """Keycloak gives out only scopes that it knows."""
        for name in filter(None, os.environ.get("SCOPES", "orders:read,orders:write,invoices:read").split(",")):
            self.call("POST", f"/admin/realms/{self.realm}/client-scopes", token, {
                "name": name, "protocol": "openid-connect",
                "attributes": {"include.in.token.scope": "true", "display.on.consent.screen": "false"},
                # Whoever gets the scope gets a token for the API that it belongs to.
                "protocolMappers": [{
                    "name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
                    "config": {
                        "included.custom.audience": os.environ.get("AUDIENCE", "https://orders.example.com"),
                        "access.token.claim": "true", "introspection.token.claim": "true",
                    },
                }],
            })

    def lift_scope_policy(self, token):
        """As it comes, a client with an initial access token may name the realm's default scopes only."""
        kind = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
        for policy in self.call("GET", f"/admin/realms/{self.realm}/components?type={kind}", token):
            if policy["providerId"] == "allowed-client-templates":
                self.call("DELETE", f"/admin/realms/{self.realm}/components/{policy['id']}", token)

    def wait_until_up(self):
        until = time.monotonic() + WITHIN
        while True:
            if self.process.poll() is not None:
                raise Missing(f"ended with {self.process.returncode} while it started; see {self.log.name}")
            try:
                self.call("GET", "/realms/master")
                return
            except OSError:
                pass
            if time.monotonic() > until:
                raise Missing(f"not up after {WITHIN} s; see {self.log.name}")
            time.sleep(0.2)

    def admin_token(self):
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": self.password}
        until = time.monotonic() + 30
        while True:  # the first administrator is made a moment after the port is open
            try:
                return self.call("POST", "/realms/master/protocol/openid-connect/token", form=form)["access_token"]
            except urllib.error.HTTPError as refused:
                if time.monotonic() > until:
                    raise Missing(f"no token for the administrator: {refused}") from refused
                time.sleep(0.3)

    def call(self, method, path, token=None, body=None, form=None):
        data, headers = None, {"accept": "application/json"}
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        if token:
            headers["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        with OPENER.open(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def asked_to_stop(self, _number, _frame):
        self.stopping = True
        if self.process and self.process.poll() is None:
            self.process.terminate()
        else:
            raise KeyboardInterrupt

    def wait(self):
        code = self.process.wait()
        return 0 if self.stopping else code or 1

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.log and self.stopping:
            os.unlink(self.log.name)


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
