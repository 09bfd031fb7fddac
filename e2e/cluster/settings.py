"""Where everything of the fixture lies, its addresses, and how it speaks to the user."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portreeve" / "cluster"
BIN = Path(os.path.abspath(os.environ.get("PORTREEVE_CLUSTER_BIN") or CACHE / "bin"))
STATE = Path(os.path.abspath(os.environ.get("PORTREEVE_CLUSTER_STATE") or CACHE / "state"))
LOGS = STATE / "log"
PKI = STATE / "pki"

SUBNET = os.environ.get("PORTREEVE_CLUSTER_SUBNET") or "10.97.0"
NODE_IP = f"{SUBNET}.1"
HOST_IP = f"{SUBNET}.254"
PODS = "10.244.0.0/24"  # of this node, out of POD_RANGE
POD_RANGE = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_IP = "10.96.0.10"  # coredns.yaml has it too
NODE = "node1"

# One name for the link and the cgroup of one state folder: two clusters never share one, and at 12 characters it is
# short enough for a network interface.
NAME = "prv-" + hashlib.sha256(str(STATE).encode()).hexdigest()[:8]

EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE: something is missing that only the user can bring


class Failure(Exception):
    """A failure that the user can act on; the entry prints it without a stack trace."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def say(message):
    print(f"cluster: {message}", file=sys.stderr, flush=True)


def environment():
    """What every program of the fixture is started with.

    kubectl and Helm remember what a server offers by its address; in the state folder that memory ends with the
    cluster, and a later one at the same address is not misread.
    """
    helm = STATE / "helm"
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        "KUBECACHEDIR": str(STATE / "cache"),
        "HELM_CACHE_HOME": str(helm / "cache"),
        "HELM_CONFIG_HOME": str(helm / "config"),
        "HELM_DATA_HOME": str(helm / "data"),
    }


def run(*command, check=True, text=None):
    """Runs a program to its end and gives its output; a failure names the command and what it said."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment())
    except FileNotFoundError:
        raise Failure(f"the program {command[0]} is not installed: run 'cluster build', which brings what is missing")
    if check and done.returncode:
        told = (done.stderr or done.stdout).strip()
        raise Failure(f"'{' '.join(command)}' ended with {done.returncode}: {told}")
    return done
