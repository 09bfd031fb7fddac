"""Writes OCI image archives of one layer, without any base image; the same input gives the same bytes."""

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import tarfile
from pathlib import Path

from settings import Failure

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def check_reference(reference):
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?(/[a-z0-9._-]+)+:[\w][\w.-]*", reference):
        raise Failure(f"{reference}: an image is named by host, name and tag, as in registry.local/app:1")
    if reference.endswith(":latest"):
        raise Failure(f"{reference}: a :latest image would be pulled, and from nowhere; use another tag")


def libraries(program):
    """What the loader of a dynamic program will open, by the paths that it will ask for; none for a static one."""
    with open(program, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
    told = subprocess.run(["ldd", program], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    lost = [line.split()[0] for line in told.stdout.splitlines() if "not found" in line]
    if lost:
        raise Failure(f"{program} needs libraries that are not on this machine: {', '.join(lost)}")
    if told.returncode:  # how ldd answers for a static program
        return []
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", told.stdout, re.M)


class Layer:
    """A root file system as a tar; owner and time of this machine stay out of it."""

    def __init__(self):
        self.raw = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.raw, mode="w", format=tarfile.GNU_FORMAT)
        self.names = set()

    def entry(self, name, mode):
        info = tarfile.TarInfo(str(name).strip("/"))
        info.mode = mode
        return info

    def parents(self, name):
        for parent in reversed(Path(str(name).strip("/")).parents[:-1]):
            self.folder(parent)

    def folder(self, name, mode=0o755):
        if str(name).strip("/") in self.names:
            return
        self.parents(name)
        info = self.entry(name, mode)
        info.type = tarfile.DIRTYPE
        self.names.add(info.name)
        self.tar.addfile(info)

    def file(self, name, source, mode=None):
        if str(name).strip("/") in self.names:
            return
        self.parents(name)
        content = Path(source).read_bytes()
        info = self.entry(name, mode if mode is not None else os.stat(source).st_mode & 0o777)
        info.size = len(content)
        self.names.add(info.name)
        self.tar.addfile(info, io.BytesIO(content))

    def link(self, name, target):
        self.parents(name)
        info = self.entry(name, 0o777)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self.names.add(info.name)
        self.tar.addfile(info)

    def program(self, name, source):
        self.file(name, source, 0o755)
        for library in sorted(set(libraries(source))):
            self.file(library, os.path.realpath(library), 0o755)

    def bytes(self):
        self.tar.close()
        return self.raw.getvalue()


def existing(path):
    path = Path(path)
    if not path.is_file():
        raise Failure(f"{path}: there is no such file to make an image of; build it first")
    return path.resolve()


def of_binary(archive, reference, binary, arguments, extras):
    """The program lies in / under its own name. An extra is SOURCE:PATH; an executable one brings its libraries too."""
    source = existing(binary)
    layer = Layer()
    layer.program(Path(binary).name, source)
    for extra in extras:
        at, colon, path = extra.rpartition(":")
        if not colon or not path.startswith("/"):
            raise Failure(f"--file {extra}: wanted SOURCE:PATH, the path beginning with / as it shall be in the image")
        add = layer.program if os.access(existing(at), os.X_OK) else layer.file
        add(path, existing(at))
    layer.folder("tmp", 0o1777)  # many programs take it for granted
    write(archive, reference, layer, ["/" + Path(binary).name, *arguments])


def of_folder(archive, reference, folder, command):
    root = Path(folder)
    if not root.is_dir():
        raise Failure(f"{folder}: there is no such folder to make an image of")
    layer = Layer()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_symlink():
            layer.link(name, os.readlink(path))
        elif path.is_dir():
            layer.folder(name, path.stat().st_mode & 0o7777)
        else:
            layer.file(name, path)
    write(archive, reference, layer, command)


def descriptor(kind, content, **more):
    digest = hashlib.sha256(content).hexdigest()
    kind = f"application/vnd.oci.image.{kind}"
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content), **more}


def write(archive, reference, layer, command):
    content = layer.bytes()
    described = descriptor("layer.v1.tar", content)
    config = json.dumps({
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux",
        "config": {"Entrypoint": command, "Env": [SEARCH_PATH]},
        "rootfs": {"type": "layers", "diff_ids": [described["digest"]]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config), "layers": [described],
    }).encode()
    named = descriptor("manifest.v1+json", manifest, annotations={
        "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference,
    })
    index = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        blobs = ((f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob) for blob in (content, config, manifest))
        for name, data in (("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index), *blobs):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
