"""What a node borrows from the machine outside its namespaces, and gives back: cgroups, sysctls, empty folders."""

import fcntl
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

from processes import beginning
from settings import NAME, Failure

CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = (CGROUPS / "cgroup.controllers").exists()

# The kubelet sets these, and they belong to the whole machine.
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
           "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
# What else the node's servers use by these paths and no others: each node mounts something of its own over them.
PRIVATE = ("/run", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")
# One for all clusters of the machine: the first one saw what was before, and the last one restores it.
RECORD = Path("/run/portreeve-clusters.json")


def roots():
    return [CGROUPS] if UNIFIED else [entry for entry in CGROUPS.iterdir() if entry.is_dir()]


def write_if_allowed(file, text):
    try:
        file.write_text(text)
    except OSError:
        pass


def make_cgroups():
    for root in roots():
        (root / NAME).mkdir(exist_ok=True)
        if UNIFIED:
            for at in (root, root / NAME):  # what the parent does not hand down, the child cannot have
                names = (at / "cgroup.controllers").read_text().split()
                write_if_allowed(at / "cgroup.subtree_control", " ".join(f"+{name}" for name in names))
        else:
            for key in ("cpuset.cpus", "cpuset.mems"):  # empty in a new cpuset, and then no process may enter it
                if (root / key).exists():
                    (root / NAME / key).write_text((root / key).read_text())


def remove_cgroups():
    for root in roots():
        until = time.monotonic() + 5
        while (root / NAME).exists():
            for at, _, _ in os.walk(root / NAME, topdown=False):
                try:
                    os.rmdir(at)
                except OSError as error:  # a process that ended this moment still counts for a while
                    if time.monotonic() > until:
                        raise Failure(f"the cgroup {at} cannot be removed ({error}); look into its cgroup.procs")
            time.sleep(0.02)


@contextmanager
def record():
    """What was borrowed from the whole machine, and by which clusters: a user is the process that stands for it."""
    folder = os.open(RECORD.parent, os.O_RDONLY | os.O_DIRECTORY)  # locked itself, so that no lock file stays behind
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            content = json.loads(RECORD.read_text())
        except (FileNotFoundError, ValueError):
            content = {"sysctls": {}, "folders": [], "users": {}}
        content["users"] = {name: of for name, of in content["users"].items() if beginning(of[0]) == of[1]}
        yield content
    finally:
        os.close(folder)


def borrow():
    """Before the namespaces are made: the folders that the private mounts need, and the values of now. Until there is
    a process that holds the node, this one stands for it."""
    with record() as content:
        for key in SYSCTLS:
            file = Path("/proc/sys", key)
            if file.exists():
                content["sysctls"].setdefault(key, file.read_text())
        lacking = [folder for folder in PRIVATE if not Path(folder).is_dir()]
        content["folders"] += [folder for folder in lacking if folder not in content["folders"]]
        content["users"][NAME] = [os.getpid(), beginning(os.getpid())]
        RECORD.write_text(json.dumps(content))
        for folder in lacking:
            Path(folder).mkdir(parents=True)


def hand_over(holder):
    with record() as content:
        content["users"][NAME] = [holder, beginning(holder)]
        RECORD.write_text(json.dumps(content))


def give_back():
    """Done by the last user: the folders of one cluster are under the mounts of the next, and removing them would take
    those mounts away. After a crash, whoever comes next and leaves last does it."""
    if not RECORD.exists():
        return
    with record() as content:
        content["users"].pop(NAME, None)
        if content["users"]:
            RECORD.write_text(json.dumps(content))
            return
        for key, value in content["sysctls"].items():
            write_if_allowed(Path("/proc/sys", key), value)
        for folder in reversed(content["folders"]):
            try:
                Path(folder).rmdir()
            except OSError:
                pass  # somebody else has begun to use it
        RECORD.unlink(missing_ok=True)
