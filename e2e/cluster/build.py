"""Builds the programs of the cluster from Go modules, and only those whose pinned versions changed."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager

from settings import BIN, EXIT_UNAVAILABLE, HERE, Failure, say

KUBERNETES = "k8s.io/kubernetes"
CONTAINERD = "github.com/containerd/containerd/v2/cmd"
BRING = HERE.parent / "bring" / "bring"

# Set of programs: its module below modules/, and program=package. The order is that of need: what `up
# --control-plane` wants comes first.
SETS = {
    "control-plane": ("kube", {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": f"{KUBERNETES}/cmd/kube-apiserver",
        "kube-controller-manager": f"{KUBERNETES}/cmd/kube-controller-manager",
        "kubectl": f"{KUBERNETES}/cmd/kubectl",
    }),
    "node": ("kube", {
        "kube-scheduler": f"{KUBERNETES}/cmd/kube-scheduler",
        "kubelet": f"{KUBERNETES}/cmd/kubelet",
        "kube-proxy": f"{KUBERNETES}/cmd/kube-proxy",
    }),
    "pause": ("pause", {"pause": "."}),
    "containerd": ("containerd", {
        "containerd": f"{CONTAINERD}/containerd",
        "containerd-shim-runc-v2": f"{CONTAINERD}/containerd-shim-runc-v2",
        "ctr": f"{CONTAINERD}/ctr",
    }),
    "coredns": ("coredns", {"coredns": "github.com/coredns/coredns"}),
    "helm": ("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
}
CONTROL_PLANE_SETS = ("control-plane",)

CONTROL_PLANE_PACKAGES = ("openssl",)
NODE_PACKAGES = (
    "runc", "iptables", "iproute2", "containernetworking-plugins", "conntrack", "openssl", "procps", "util-linux",
)


def linker_flags(module):
    """Small binaries; and for Kubernetes its version, or it calls itself v0.0.0-master and Helm refuses every chart
    that has a `kubeVersion`."""
    flags = "-s -w"
    if module != "kube":
        return flags
    required = (HERE / "modules" / module / "go.mod").read_text()
    version = re.search(rf"^\s*{re.escape(KUBERNETES)} (v(\d+)\.(\d+)\.\S+)", required, re.M)
    at = "k8s.io/component-base/version"
    stamps = {"gitVersion": version[1], "gitMajor": version[2], "gitMinor": version[3], "gitTreeState": "clean"}
    return " ".join([flags, *(f"-X {at}.{name}={value}" for name, value in stamps.items())])


def fingerprint(module, programs):
    """Changes when the result would: the module files name every version, that of Go included."""
    digest = hashlib.sha256(f"{linker_flags(module)} {sorted(programs.items())}".encode())
    for file in sorted((HERE / "modules" / module).iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_built(name):
    module, programs = SETS[name]
    stamp = BIN / f".{name}.stamp"
    return (
        stamp.is_file()
        and stamp.read_text() == fingerprint(module, programs)
        and all((BIN / program).is_file() for program in programs)
    )


def sets(control_plane):
    return CONTROL_PLANE_SETS if control_plane else tuple(SETS)


def missing(control_plane):
    return [name for name in sets(control_plane) if not is_built(name)]


def bring(*what):
    """Passes on the exit code of `bring`, which has told the user what is missing and how to get it."""
    done = subprocess.run([str(BRING), *what], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failure(f"'bring {' '.join(what)}' could not bring what the cluster needs", done.returncode)
    return done.stdout.strip()


@contextmanager
def only_one_build():
    """Two builds at once would compile everything twice; the second waits and then finds all there."""
    BIN.mkdir(parents=True, exist_ok=True)
    with open(BIN / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compile_set(name, environment):
    module, programs = SETS[name]
    say(f"building {', '.join(programs)}")
    began = time.monotonic()
    workshop = BIN / f".building-{name}"
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir()
    for program, package in programs.items():
        compile_program(package, workshop / program, module, environment)
    # Renamed at the end, so that a program in use is not written to, and an interrupted build leaves nothing half done.
    for program in programs:
        (workshop / program).rename(BIN / program)
    workshop.rmdir()
    (BIN / f".{name}.stamp").write_text(fingerprint(module, programs))
    say(f"built {', '.join(programs)} in {time.monotonic() - began:.0f} s")


def compile_program(package, result, module, environment):
    command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", linker_flags(module)]
    began = time.monotonic()
    going = subprocess.Popen(
        [*command, "-o", str(result), package], cwd=HERE / "modules" / module, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    while True:
        try:
            output, _ = going.communicate(timeout=60)
            break
        except subprocess.TimeoutExpired:
            say(f"  still at {result.name}, {time.monotonic() - began:.0f} s")
        except BaseException:
            going.kill()
            raise
    if going.returncode:
        raise Failure(f"go build of {package} in modules/{module} failed:\n{complaints(output)}")


def complaints(output):
    lines = [line for line in output.splitlines() if not line.startswith("go: downloading ")]
    return "\n".join(lines[-20:])


def build(control_plane):
    bring("packages", *(CONTROL_PLANE_PACKAGES if control_plane else NODE_PACKAGES))
    if not missing(control_plane):
        return
    bring("go")
    ahead = bring("path")
    path = os.environ.get("PATH", "")
    environment = {
        **os.environ,
        "PATH": f"{ahead}:{path}" if ahead else path,
        "CGO_ENABLED": "0",  # static programs: they run in images without any library, and need no C compiler
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "",
        "GOWORK": "off",
    }
    with only_one_build():
        todo = missing(control_plane)
        if todo:
            say(f"first build with these versions: {', '.join(todo)}; Kubernetes alone takes some minutes")
        for name in todo:
            compile_set(name, environment)
    if shutil.which("kubectl", path=str(BIN)) is None:
        raise Failure(f"{BIN} lies where programs may not be executed: set PORTREEVE_CLUSTER_BIN", EXIT_UNAVAILABLE)
