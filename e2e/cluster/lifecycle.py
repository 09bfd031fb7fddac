"""Up, down and status of a cluster as a whole."""

import fcntl
import os
import shutil
from contextlib import contextmanager

import build
import control_plane
import node
from pki import kubeconfig_file
from processes import NAMESPACES, SERVERS, kill, pid_of, recorded, resident_megabytes
from settings import LOGS, PKI, STATE, Failure, say

CONTROL_PLANE, NODE = "control-plane", "node"
MODE = STATE / "mode"
COMPLETE = STATE / "complete"
MARK = STATE / ".portreeve-cluster"  # this folder is ours, and `down` may empty it
KEPT = {LOGS.name, MARK.name, "lock"}


@contextmanager
def only_one():
    """One `up` or `down` at a time; the lock ends with the process that holds it, however that ends."""
    if STATE.exists() and not MARK.exists() and any(STATE.iterdir()):
        raise Failure(f"{STATE} holds something that is no cluster: set PORTREEVE_CLUSTER_STATE to a folder of its own")
    STATE.mkdir(parents=True, exist_ok=True)
    MARK.touch()
    with open(STATE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def mode():
    return MODE.read_text() if MODE.exists() else None


def is_running():
    names = recorded()
    return (
        COMPLETE.exists()
        and bool(names)
        and all(pid_of(name) for name in names)
        and control_plane.is_ready()
    )


def check(wanted):
    missing = build.missing(wanted == CONTROL_PLANE)
    if missing:
        option = " --control-plane" if wanted == CONTROL_PLANE else ""
        raise Failure(f"not built in the pinned versions: {', '.join(missing)}; run 'cluster build{option}'",
                      build.EXIT_UNAVAILABLE)
    if wanted == NODE:
        if os.geteuid() != 0:
            raise Failure("a node needs root; 'cluster up --control-plane' does without", build.EXIT_UNAVAILABLE)
        node.check()


def up(wanted):
    with only_one():
        if is_running():
            if mode() != wanted:
                raise Failure(f"a cluster in mode {mode()} is up in {STATE}: run 'cluster down' first, or set"
                              " PORTREEVE_CLUSTER_STATE for a second one")
            return
        tear_down()  # the remains of a run that was killed
        check(wanted)
        for folder in (PKI, LOGS):
            folder.mkdir(mode=0o700, exist_ok=True)
        MODE.write_text(wanted)
        try:
            (control_plane if wanted == CONTROL_PLANE else node).up()
        except BaseException:
            tear_down()
            say(f"what was started has been ended again; the logs stay in {LOGS}")
            raise
        COMPLETE.touch()


def down():
    if STATE.exists():
        with only_one():
            tear_down()


def tear_down():
    """Needs root for a node, also for one that `up` left half made."""
    was_node = mode() == NODE
    if was_node and os.geteuid() != 0:
        raise Failure("the node was made by root, and only root can take it down")
    COMPLETE.unlink(missing_ok=True)
    # The servers of a node end with its holder, all at once; on the host each is ended by its record.
    kill(NAMESPACES if was_node else SERVERS)
    if was_node:
        node.remove()
    for entry in STATE.iterdir():
        if entry.name not in KEPT and entry != MODE:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    MODE.unlink(missing_ok=True)  # last: a `down` that was interrupted knows what is left to do


def status():
    if not is_running():
        left = [name for name in recorded() if pid_of(name)]
        print(f"down{'; still alive: ' + ', '.join(left) if left else ''}")
        return 1 if left else 3
    print(f"up, mode {mode()}, kubeconfig {kubeconfig_file('admin')}")
    total = 0
    for name in recorded():
        pid = pid_of(name)
        megabytes = resident_megabytes(pid)
        total += megabytes
        print(f"  {name:<12} pid {pid:<8} {megabytes:>5} MB")
    print(f"  {'together':<25} {total:>5} MB")
    return 0
