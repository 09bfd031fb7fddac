"""Keycloak's distribution, as Maven carries it: downloaded once, checked, unpacked and built."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

BRING = Path(__file__).resolve().parent.parent / "bring/bring"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portreeve" / "tools"
VERSION = "26.7.3"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:tar.gz"
SHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"

# Fixed when the server is built, so that it starts without building again.
BUILD = ["--db=dev-mem", "--cache=local", "--health-enabled=false", "--metrics-enabled=false"]


class Missing(Exception):
    """Something that cannot be brought or started: says what, why, and what to do."""


def say(message):
    print(f"keycloak: {message}", file=sys.stderr, flush=True)


def installed():
    """The folder of a built Keycloak."""
    home = CACHE / f"keycloak-{VERSION}"
    if home.is_dir():
        need("java", "openjdk-17-jre-headless")
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".keycloak.lock", "w") as lock:  # two tests may start at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            install(home)
    return home


def need(program, package):
    if shutil.which(program) is None and subprocess.run([BRING, "packages", package]).returncode:
        raise Missing(f"{program} is not there; its package is {package}")


def install(home):
    """Into a folder that gets its name only when all is in it, so an interrupted run leaves nothing half done."""
    need("java", "openjdk-17-jre-headless")
    need("mvn", "maven")
    workshop = CACHE / f".keycloak.{os.getpid()}"
    try:
        say(f"downloading Keycloak {VERSION} (170 MB)")
        quietly(["mvn", "-B", "-q", COPY, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={workshop}"], "Maven cannot download it")
        archive = workshop / f"keycloak-quarkus-dist-{VERSION}.tar.gz"
        with open(archive, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != SHA256:
            raise Missing(f"{ARTIFACT} has SHA-256 {found}, not {SHA256}; it is not used")
        with tarfile.open(archive) as tar:
            tar.extractall(workshop, filter="data")
        unpacked = workshop / f"keycloak-{VERSION}"
        say("building it")
        quietly([unpacked / "bin/kc.sh", "build", *BUILD], "Keycloak cannot be built")
        unpacked.rename(home)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def quietly(command, complaint):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise Missing(f"{complaint}:\n{tail}")
