"""Debian packages, by apt-get."""

import os
import shutil
from pathlib import Path

from telling import Missing, last_lines, run, say

# A package counts as there when its program is, wherever that came from. Asking for the program and not for the package
# is quicker; and Docker's own packages hold a runc that conflicts with Debian's, which would remove them.
SIGNS = {
    "conntrack": "conntrack",
    "containernetworking-plugins": ("/usr/lib/cni/bridge", "/opt/cni/bin/bridge"),
    "iproute2": "ip",
    "iptables": "iptables",
    "openssl": "openssl",
    "procps": "sysctl",
    "runc": "runc",
    "util-linux": "nsenter",
}
# A plain user's PATH leaves out the system's own folders.
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def installed(name):
    sign = SIGNS.get(name)
    if sign is None:
        if shutil.which("dpkg-query") is None:
            return False
        return run(["dpkg-query", "-W", "-f", "${db:Status-Status}", name]).stdout == "installed"
    if isinstance(sign, tuple):
        return any(Path(file).exists() for file in sign)
    return shutil.which(sign, path=PATH) is not None


def as_root():
    """What to write before a command that needs root; None where that is not allowed."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and run(["sudo", "-n", "true"]).returncode == 0:
        return ["sudo", "-n"]
    return None


def bring(names):
    lacking = sorted({name for name in names if not installed(name)})
    if not lacking:
        return
    wanted = " ".join(lacking)
    cure = f"sudo apt-get update && sudo apt-get install {wanted}"
    if shutil.which("apt-get") is None:
        raise Missing(f"not installed here: {wanted}. This is no Debian or Ubuntu, so install them by this system's own"
                      f" means; on Debian it would be: {cure}")
    root = as_root()
    if root is None:
        raise Missing(f"not installed here: {wanted}. Only root may install them; run: {cure}")
    say(f"installing {wanted}")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    install = [*apt, "install", "-y", "--no-install-recommends", *lacking]
    done = run(install)
    if done.returncode:  # no package list yet, or one that names files which the mirror has since replaced
        say("apt-get does not find them all; fetching the package lists")
        updated = run([*apt, "update"])
        done = run(install)
        if done.returncode:
            raise Missing(f"apt-get could not install {wanted}:\n{last_lines(updated)}\n{last_lines(done)}\n"
                          f"bring: when the cause is gone, run: {cure}")
    still = [name for name in lacking if not installed(name)]
    if still:
        raise Missing(f"apt-get installed {' '.join(still)}, but its programs are not found on PATH={PATH}")
