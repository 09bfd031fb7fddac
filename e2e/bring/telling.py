"""How `bring` speaks: always on stderr, because stdout belongs to `bring path`."""

import subprocess
import sys


class Missing(Exception):
    """Something that cannot be brought: the message says what, why, and which command would bring it."""


def say(message):
    print(f"bring: {message}", file=sys.stderr, flush=True)


def run(command, **more):
    """Runs a program quietly; its output is worth reading only after a failure."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


def last_lines(done, count=6):
    return "\n".join("  " + line for line in done.stdout.strip().splitlines()[-count:])
