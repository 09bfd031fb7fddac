"""containerd and the kubelet: their configurations, and the import of images."""

import json
import os
from pathlib import Path

import image
from processes import pid_of, start_in_node
from settings import DNS_IP, NAME, NODE, NODE_IP, PKI, PODS, STATE, Failure, run

CONTAINERD = STATE / "containerd"
SOCKET = CONTAINERD / "s.sock"
CNI = STATE / "cni"
PAUSE_IMAGE = "registry.local/pause:1"


def plugins():
    places = [os.environ.get("PORTREEVE_CLUSTER_CNI_BIN"), "/usr/lib/cni", "/opt/cni/bin"]
    for place in filter(None, places):
        if Path(place, "bridge").exists():
            return place
    raise Failure("the network plugins (package containernetworking-plugins) are not installed: run 'cluster build'")


def write_network():
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
         "ipam": {"type": "host-local", "dataDir": str(CNI / "addresses"), "ranges": [[{"subnet": PODS}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]}
    CNI.mkdir(exist_ok=True)
    (CNI / "10-pods.conflist").write_text(json.dumps(network, indent=1))


def write_containerd():
    CONTAINERD.mkdir(exist_ok=True)
    (CONTAINERD / "config.toml").write_text(f"""version = 3
root = "{CONTAINERD}/root"
state = "{CONTAINERD}/state"
[grpc]
address = "{SOCKET}"
[ttrpc]
address = "{SOCKET}.ttrpc"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true  # where a score below zero may not be written, no pod would start
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins()}"]
conf_dir = "{CNI}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = {{ SystemdCgroup = false }}
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"  # under any other name it would be pulled, from nowhere
""")


def write_kubelet():
    """One key a line: a file that begins with a brace would be taken for JSON."""
    (STATE / "kubelet" / "volume-plugins").mkdir(parents=True, exist_ok=True)
    (STATE / "resolv.conf").write_text("")  # pods that keep the node's DNS get none
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_IP],
        "resolvConf": str(STATE / "resolv.conf"),
        "podLogsDir": str(STATE / "pod-logs"),
        "volumePluginDir": str(STATE / "kubelet" / "volume-plugins"),
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": str(PKI / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        # A developer's disk is often nearly full, and no image could be pulled again after it was collected.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }
    lines = (f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
    (STATE / "kubelet.yaml").write_text("".join(lines))


def configure():
    write_network()
    write_containerd()
    write_kubelet()


def start_containerd():
    start_in_node("containerd", "containerd", "-c", CONTAINERD / "config.toml")


def ctr(*arguments, **more):
    return run("ctr", "--address", SOCKET, "--namespace", "k8s.io", *arguments, **more)


def answers():
    return SOCKET.exists() and ctr("version", check=False).returncode == 0


def start_kubelet(kubeconfig):
    start_in_node("kubelet", "kubelet", "--config", STATE / "kubelet.yaml", "--kubeconfig", kubeconfig,
                  "--hostname-override", NODE, "--node-ip", NODE_IP, "--root-dir", STATE / "kubelet")


def check_running():
    if pid_of("containerd") is None:
        raise Failure("no node is up that could take an image: run 'cluster up' first")


def load(archive):
    check_running()
    ctr("images", "import", Path(archive).resolve())


def load_binary(reference, binary, arguments, extras=()):
    load_written(reference, lambda archive: image.of_binary(archive, reference, binary, arguments, extras))


def load_folder(reference, folder, entry, arguments):
    load_written(reference, lambda archive: image.of_folder(archive, reference, folder, [entry, *arguments]))


def load_written(reference, write):
    image.check_reference(reference)
    check_running()  # before anything is written, into a folder that may not be there
    archive = STATE / f"image.{os.getpid()}.tar"
    try:
        write(archive)
        load(archive)
    finally:
        archive.unlink(missing_ok=True)
