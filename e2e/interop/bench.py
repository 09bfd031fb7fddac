"""An operator in file mode, its folder of manifests, and what it wrote: the table on which a check lies."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import simple_yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
API = "portreeve.dev/v1alpha1"


class Bench:
    def __init__(self, admin_port, *flags, release=False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="portreeve-interop-"))
        self.source, self.state = self.folder / "source", self.folder / "state"
        self.source.mkdir()
        self.flags = [
            "--source", self.source, "--state", self.state, "--allow-http", "--allow-private-addresses",
            "--admin", f"127.0.0.1:{admin_port}", *flags,
        ]
        self.profile = "release" if release else "debug"
        self.log = self.folder / "operator.log"
        self.process = None

    @staticmethod
    def build(release=False):
        command = ["cargo", "build", "--quiet", "-p", "portreeve-operator", *(["--release"] if release else [])]
        if subprocess.run(command, cwd=ROOT).returncode:
            raise SystemExit("the operator cannot be built; the messages stand above")

    def start(self):
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [str(part) for part in (target / self.profile / "portreeve-operator", *self.flags)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=10)

    def clear(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- manifests

    def apply(self, kind, name, spec, annotations=None):
        metadata = {"name": name, "annotations": annotations or {}}
        body = {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}
        self.put(f"{kind}-{name}", body)

    def secret(self, name, **values):
        """A Secret that may be sent to a token service."""
        uses = {"portreeve.dev/use": "initial-access-token, software-statement, client-credentials"}
        metadata = {"name": name, "annotations": uses}
        self.put(f"Secret-{name}", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})

    def put(self, file, body):
        draft = self.folder / "draft"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(body))
        draft.rename(self.source / f"{file}.json")

    def remove(self, kind, name):
        (self.source / f"{kind}-{name}.json").unlink()

    def client(self, name, service, method="ClientSecretBasic", scope="", annotations=None, metadata=None, **more):
        """A ClientRegistration."""
        described = {"clientName": name, "grantTypes": ["client_credentials"], "scope": scope, **(metadata or {})}
        spec = {
            "tokenServiceRef": {"name": service}, "metadata": described, "authentication": {"method": method},
            "credentialsSecretName": f"{name}-oauth", **more,
        }
        self.apply("ClientRegistration", name, spec, annotations)

    # --- what the operator wrote

    def status(self, name, kind="ClientRegistration"):
        try:
            return simple_yaml.read((self.state / "status" / kind / "default" / f"{name}.yaml").read_text())["status"]
        except FileNotFoundError:
            return {}

    def condition(self, name, kind="Ready"):
        """Status, reason and message of a condition."""
        for condition in self.status(name).get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"], condition["message"]
        return "", "", ""

    def credentials(self, name):
        try:
            text = (self.state / "secrets" / "default" / f"{name}-oauth.yaml").read_text()
        except FileNotFoundError:
            return {}
        return simple_yaml.read(text)["stringData"]

    def journal(self, name):
        return self.state / "registrations" / "default" / f"{name}.json"


def until(holds, seconds=20):
    """The first true value, or the last false one."""
    end = time.monotonic() + seconds
    while True:
        value = holds()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.05)
