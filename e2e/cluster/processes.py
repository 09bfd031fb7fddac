"""Starts the servers of a cluster, remembers them, and ends them: only those, and never by name.

A record holds the pid of a process and when that process began, in the kernel's own count. A number that was meanwhile
given to another process has another beginning, so a stale record never points at a stranger.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

from settings import LOGS, STATE, Failure, environment

SERVERS = ("etcd", "apiserver", "controllers", "containerd", "scheduler", "kubelet", "proxy")
NAMESPACES = ("unshare", "node")  # the holder of the node's namespaces, and the process that waits for it


def beginning(pid):
    """Start time of a living process; None for one that is gone, or dead and not yet collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return None if state in "XZ" else fields[18]


def record_file(name):
    return STATE / f"{name}.pid"


def record(name, pid):
    began = beginning(pid)
    if began is not None:
        record_file(name).write_text(f"{pid} {began}\n")


def pid_of(name):
    """The pid on record, if that very process still lives."""
    try:
        pid, began = record_file(name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if beginning(pid) == began else None


def recorded():
    return sorted(file.stem for file in STATE.glob("*.pid"))


def child_of(parent):
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if stat.rpartition(")")[2].split()[1] == str(parent):
                return int(entry.name)
    return None


def log_tail(name, lines=5):
    try:
        text = (LOGS / f"{name}.log").read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


def launch(name, command, before=None):
    """In a session of its own, so that the terminal's Ctrl-C does not reach it."""
    with open(LOGS / f"{name}.log", "wb") as log:
        return subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env=environment(), preexec_fn=before,
        )


def start(name, *command):
    """The new process records itself before it becomes the server: `up` may be killed at any moment and `down` still
    finds what it had started."""
    launch(name, command, before=lambda: record(name, os.getpid()))


def start_in_node(name, *command):
    """nsenter has to stay outside the pid namespace as the parent; what is recorded is its only child."""
    enter = ["nsenter", "--target", pid_of("node"), "--mount", "--net", "--pid", "--"]
    record_child(name, launch(name, [*enter, *command]))


def record_child(name, parent, seconds=5):
    until = time.monotonic() + seconds
    while True:
        child = child_of(parent.pid)
        if child is not None:
            return record(name, child)
        if parent.poll() is not None or time.monotonic() > until:
            raise Failure(f"{name} did not start; its log {LOGS / name}.log ends:\n{log_tail(name)}")
        time.sleep(0.01)


def die_with(names):
    for name in names:
        if pid_of(name) is None:
            raise Failure(f"{name} ended; its log {LOGS / name}.log ends:\n{log_tail(name)}")


def wait_until(condition, what, seconds=60, alive=(), pause=0.1):
    """Waits for a condition, but not for one that a dead server can no longer fulfil."""
    until = time.monotonic() + seconds
    while not condition():
        die_with(alive)
        if time.monotonic() > until:
            raise Failure(f"{what} did not happen within {seconds} s; the logs are in {LOGS}")
        time.sleep(pause)


def kill(names):
    names = [name for name in names if pid_of(name) is not None]
    for name in names:
        pid = pid_of(name)
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)  # they hold nothing worth saving: every `up` begins empty
            except ProcessLookupError:
                pass
    for name in names:
        wait_until(lambda: pid_of(name) is None, f"the end of {name}", seconds=30, pause=0.02)


def resident_megabytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0
