"""Builds, starts and ends the four programs of the demo, in a folder of their own."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from http_client import form, json_of, send

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PORTS = {"token service": 9410, "sample API": 9420, "proxy": 9400, "proxy admin": 9401, "operator admin": 9402}
BINARIES = {
    "portreeve-operator": "portreeve-operator",
    "portreeve-proxy": "portreeve-proxy",
    "portreeve-cli": "portreeve",
    "portreeve-e2e": "sample-api",
}


class Missing(Exception):
    """Something that the demo needs is not there; says what would bring it."""


class Stage:
    issuer = f"http://127.0.0.1:{PORTS['token service']}"
    proxy = f"http://127.0.0.1:{PORTS['proxy']}"

    def __init__(self, transcript):
        self.transcript = transcript
        self.processes = []
        self.folder = None
        self.control = None
        self.token_service_environment = {}
        self.operator_arguments = []
        self.proxy_environment = {}

    # --- before anything runs

    def prepare(self):
        for name, port in PORTS.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    raise Missing(f"port {port}, for the {name}, is in use; end the program that has it (ss -ltnp 'sport = :{port}')")
        if not shutil.which("cargo"):
            raise Missing("cargo is not on PATH; install Rust, see https://rustup.rs")
        self.transcript.progress("building (a first build takes some minutes)")
        packages = [word for name in BINARIES for word in ("-p", name)]
        # On a terminal cargo shows how many of how many crates are done; elsewhere its messages are only noise.
        quiet = [] if sys.stderr.isatty() else ["--quiet"]
        if subprocess.run(["cargo", "build", *quiet, *packages], cwd=ROOT).returncode:
            raise Missing("the build failed; its messages stand above")
        self.transcript.progress("installing the token service, where it is not there yet")
        if subprocess.run([ROOT / "e2e/token-service/run", "install"], stdout=subprocess.DEVNULL).returncode:
            raise Missing("the token service cannot be installed; its messages stand above")
        target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
        self.bin = {binary: pathlib.Path(target) / "debug" / binary for binary in BINARIES.values()}

    # --- the four programs

    def start(self):
        self.began = time.monotonic()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="portreeve-demo-"))
        self.source, self.state = self.folder / "source", self.folder / "state"
        shutil.copytree(ROOT / "manifests/samples", self.source)
        self.records = self.folder / "records.log"
        self.start_token_service()
        self.spawn("sample API", [self.bin["sample-api"]], {"SAMPLE_API_LISTEN": f"127.0.0.1:{PORTS['sample API']}"})
        self.start_operator()
        self.start_proxy()
        self.wait("the proxy is ready", self.proxy_is_ready)
        self.wait("the sample application is registered", lambda: self.secret_file("shop-oauth").exists())
        # 401 says that the token service was asked; before the gateway's own client is registered it is 503.
        self.wait("tokens can be looked up", lambda: self.get("/orders/7", "not-a-token").status == 401)

    def start_operator(self):
        return self.spawn(
            "operator",
            [self.bin["portreeve-operator"], "--source", self.source, "--state", self.state, "--allow-http",
             "--allow-private-addresses", "--admin", f"127.0.0.1:{PORTS['operator admin']}", *self.operator_arguments],
        )

    def start_proxy(self):
        return self.spawn("proxy", [self.bin["portreeve-proxy"]], {
            "PORTREEVE_LISTEN": f"127.0.0.1:{PORTS['proxy']}",
            "PORTREEVE_ADMIN": f"127.0.0.1:{PORTS['proxy admin']}",
            "PORTREEVE_OPERATOR": f"unix:{self.state / 'operator.sock'}",
            "PORTREEVE_WORKLOAD": "default/orders-1",
            "PORTREEVE_LABELS": "app=orders",
            "PORTREEVE_RECORDS": str(self.records),
            "PORTREEVE_WORKERS": "2",
            **self.proxy_environment,
        })

    def end(self, name):
        """Ends the programs of this name, and waits."""
        for known, process in list(self.processes):
            if known == name:
                process.terminate()
                process.wait(timeout=10)
                self.processes.remove((known, process))

    def start_token_service(self):
        environment = {"PORT": str(PORTS["token service"]), "ACCESS_TOKEN_TTL": "300", **self.token_service_environment}
        process = self.spawn("token service", [ROOT / "e2e/token-service/run"], environment, subprocess.PIPE)
        told = json.loads(process.stdout.readline() or "{}")
        if "initial_access_token" not in told:
            raise Missing(f"the token service did not start; see {self.folder}/token-service.log")
        self.control = told["control"]
        # What a person brings: leave to register clients. It never lies in Git.
        # A second one is for the gateway alone: by it the token service knows who may introspect the tokens of others.
        for name, token in (("dcr", "initial_access_token"), ("dcr-gateway", "gateway_access_token")):
            secret = self.source / f"{name}-secret.yaml"
            secret.touch(mode=0o600)
            secret.write_text(
                f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: default\n"
                "  annotations: {portreeve.dev/use: initial-access-token}\n"
                f"stringData: {{token: {json.dumps(told[token])}}}\n"
            )

    def start_partner(self, port):
        """A second token service: that of a partner's domain."""
        partner = self.spawn("partner", [ROOT / "e2e/token-service/run"], {"PORT": str(port)}, subprocess.PIPE)
        self.partner_control = json.loads(partner.stdout.readline())["control"]

    def spawn(self, name, command, environment=None, stdout=None):
        log = open(self.folder / (name.replace(" ", "-") + ".log"), "w")
        process = subprocess.Popen(
            [str(part) for part in command], env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
            stdout=stdout or log, stderr=log, text=True, start_new_session=True,
        )
        self.processes.append((name, process))
        return process

    def wait(self, what, holds, seconds=30):
        until = time.monotonic() + seconds
        while not holds():
            for name, process in self.processes:
                if process.poll() is not None:
                    log = self.folder / (name.replace(" ", "-") + ".log")
                    tail = "".join(log.read_text().splitlines(keepends=True)[-5:])
                    raise Missing(f"the {name} ended with {process.returncode} before {what}:\n{tail}")
            if time.monotonic() > until:
                raise Missing(f"gave up after {seconds} s waiting until {what}; logs are in {self.folder}")
            time.sleep(0.02)

    def proxy_is_ready(self):
        try:
            return send(f"http://127.0.0.1:{PORTS['proxy admin']}/readyz").status == 200
        except OSError:
            return False

    def stay(self):
        token = self.token("orders:read")
        self.transcript.say(
            f"\nUp until Ctrl-C.\n  API through the proxy  {self.proxy}/orders/7\n  token service          {self.issuer}\n"
            f"  manifests to edit      {self.source}\n  statuses               {self.state}/status\n"
            f"  decision records       {self.records}\n\n"
            f"  curl -i -H 'Authorization: Bearer {token}' {self.proxy}/orders/7\n"
        )
        while all(process.poll() is None for _, process in self.processes):
            time.sleep(0.2)
        self.transcript.say("one of the programs ended; see the logs in " + str(self.folder))

    def stop(self):
        for _, process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for _, process in reversed(self.processes):
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
        if self.folder and not self.transcript.failed:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif self.folder:
            self.transcript.say(f"logs and statuses are kept in {self.folder}")

    # --- what scenes ask for

    def secret_file(self, name):
        return self.state / "secrets" / "default" / f"{name}.yaml"

    def credentials(self):
        text = self.secret_file("shop-oauth").read_text()
        value = lambda key: re.search(rf"^\s*{key}:\s*(?:>-\s*)?[\"']?([^\"'\s]+)", text, re.M)[1]  # noqa: E731
        return value("client_id"), value("client_secret")

    def token(self, scope):
        fields = {"grant_type": "client_credentials", "scope": scope, "resource": "https://orders.example.com"}
        answer = form(f"{self.issuer}/token", fields, self.credentials())
        return json_of(answer).get("access_token", "")

    def revoke(self, token):
        return form(f"{self.issuer}/token/revocation", {"token": token}, self.credentials())

    def get(self, path, token=None):
        return send(self.proxy + path, headers={"authorization": f"Bearer {token}"} if token else {})

    def status(self, kind, name):
        for file in (self.state / "status").rglob("*.yaml"):
            if file.stem == name and file.parent.parent.name.lower().startswith(kind.lower()):
                return file.read_text()
        return ""
