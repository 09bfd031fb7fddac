"""A node: network, mount and pid namespaces of their own, held by one process, with all servers and pods in them.

When the holder goes, the kernel ends every process of the node, and with the last of them its mounts and its network.
"""

import os
import shutil
import time
from pathlib import Path

import control_plane
import kernel
import runtime
from pki import kubeconfig, kubeconfig_file
from processes import child_of, launch, pid_of, record, start_in_node, wait_until
from settings import (
    API_SERVICE_IP, BIN, EXIT_UNAVAILABLE, HERE, HOST_IP, NAME, NODE, NODE_IP, PKI, POD_RANGE, PODS, SERVICES, STATE,
    SUBNET, Failure, environment, run, say,
)

PROGRAMS = ("runc", "iptables", "conntrack", "unshare", "nsenter", "sysctl")  # of the node and of this tool
HOLDER = 'for folder; do mount -t tmpfs tmpfs "$folder" || exit 1; done; exec pause'


def check():
    if len(str(STATE)) > 70:
        raise Failure(f"{STATE} is too long for the sockets below it (70 characters): set PORTREEVE_CLUSTER_STATE")
    for folder in (STATE, BIN):
        if str(folder).startswith(("/run/", "/var/run/")):
            raise Failure(f"{folder} would be hidden from the node, which has a /run of its own: set"
                          " PORTREEVE_CLUSTER_STATE and PORTREEVE_CLUSTER_BIN")
    if f" {SUBNET}." in run("ip", "-oneline", "-4", "address").stdout:
        raise Failure(f"{SUBNET}.0/24 is in use on this machine: set PORTREEVE_CLUSTER_SUBNET, e.g. to 10.98.0")
    runtime.plugins()
    lacking = [program for program in PROGRAMS if not shutil.which(program, path=environment()["PATH"])]
    if lacking:
        raise Failure(f"not installed: {', '.join(lacking)}; run 'cluster build', which brings their packages",
                      EXIT_UNAVAILABLE)


def in_network(*command, **more):
    return run("nsenter", "--target", pid_of("node"), "--net", "--", *command, **more)


def make_namespaces():
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", HOLDER]
    parent = launch("node", [*unshare, "node", *kernel.PRIVATE], before=record_unshare)

    def holder_is_pause():
        if parent.poll() is not None:
            log = (STATE / "log" / "node.log").read_text().strip()
            raise Failure(f"no namespaces can be made here: {log}; 'cluster up --control-plane' needs none")
        child = child_of(parent.pid)
        return child is not None and Path(f"/proc/{child}/comm").read_text().strip() == "pause"

    wait_until(holder_is_pause, "the start of the node's first process", seconds=10, pause=0.01)
    record("node", child_of(parent.pid))
    kernel.hand_over(pid_of("node"))


def record_unshare():
    record("unshare", os.getpid())


def connect():
    """A pair of linked interfaces. The node has no default route, so that nothing in it reaches any other network."""
    run("ip", "link", "add", NAME, "type", "veth", "peer", "name", "node0", "netns", pid_of("node"))
    run("ip", "address", "add", f"{HOST_IP}/24", "dev", NAME)
    run("ip", "link", "set", NAME, "up")
    in_network("ip", "link", "set", "lo", "up")
    in_network("ip", "address", "add", f"{NODE_IP}/24", "dev", "node0")
    in_network("ip", "link", "set", "node0", "up")
    # Without any route the node's own processes would be refused before the rules for Services see their packets.
    in_network("ip", "route", "add", SERVICES, "via", HOST_IP)
    in_network("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for network in (PODS, SERVICES):
        if run("ip", "route", "add", network, "via", NODE_IP, "dev", NAME, check=False).returncode:
            say(f"another cluster has the route to {network}; reach pods and Services of this one by 'cluster exec'")


def start_node_servers():
    kubeconfig_of = {}
    for name, subject, names in (
        ("scheduler", "/CN=system:kube-scheduler", ()),
        ("proxy", "/CN=system:kube-proxy", ()),
        (NODE, f"/O=system:nodes/CN=system:node:{NODE}", (f"DNS:{NODE}", f"IP:{NODE_IP}")),
    ):
        kubeconfig(name, f"https://{NODE_IP}:6443", subject, *names)
        kubeconfig_of[name] = kubeconfig_file(name)
    control_plane.wait_ready()
    control_plane.start_controllers(start_in_node, f"--cluster-cidr={POD_RANGE}", "--allocate-node-cidrs=true")
    scheduler = f"kubeconfig={kubeconfig_of['scheduler']}"
    start_in_node("scheduler", "kube-scheduler", "--leader-elect=false", f"--{scheduler}",
                  f"--authentication-{scheduler}", f"--authorization-{scheduler}")
    runtime.start_kubelet(kubeconfig_of[NODE])
    # The limits of connection tracking belong to the whole kernel; 0 leaves them as they are.
    start_in_node("proxy", "kube-proxy", "--kubeconfig", kubeconfig_of["proxy"], "--proxy-mode", "iptables",
                  "--cluster-cidr", POD_RANGE, "--hostname-override", NODE, "--conntrack-max-per-core", "0",
                  "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0")


def services_reachable():
    """Whether kube-proxy has written the rule for the API server's Service. A pod that asks before is sent astray, and
    since the kernel remembers the way of a connection, it stays so until the client gives up after 30 s."""
    rules = in_network("iptables", "-w", "-t", "nat", "-S", "KUBE-SERVICES", check=False).stdout
    return f"-d {API_SERVICE_IP}/32" in rules


def up():
    kernel.borrow()
    make_namespaces()
    connect()
    kernel.make_cgroups()
    runtime.configure()
    runtime.start_containerd()
    # InternalIP: nothing here resolves the node's name, and logs and exec go from the API server to the kubelet.
    control_plane.start_servers(
        start_in_node, NODE_IP, (6443, 2379, 2380), "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={PKI}/admin.crt", f"--kubelet-client-key={PKI}/admin.key",
    )
    wait_until(runtime.answers, "an answer of containerd", seconds=30, alive=("containerd",))
    runtime.load_binary(runtime.PAUSE_IMAGE, BIN / "pause", [])
    runtime.load_binary("registry.local/coredns:1", BIN / "coredns", [])
    start_node_servers()
    kubectl = control_plane.kubectl
    wait_until(services_reachable, "the first rules of kube-proxy", alive=("proxy",))
    kubectl("apply", "-f", HERE / "coredns.yaml")
    kubectl("wait", "--for=create", f"node/{NODE}", "--timeout=90s")
    kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=90s")
    kubectl("-n", "kube-system", "wait", "--for=condition=Available", "deployment/coredns", "--timeout=90s")
    control_plane.wait_usable()


def remove():
    """After the holder's end: what lies outside its namespaces."""
    for _ in range(50):  # the kernel takes the link away with the network, a moment after its last process
        if run("ip", "link", "show", NAME, check=False).returncode:
            break
        run("ip", "link", "delete", NAME, check=False)
        time.sleep(0.02)
    kernel.remove_cgroups()
    kernel.give_back()
