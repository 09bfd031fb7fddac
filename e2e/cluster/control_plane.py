"""etcd, API server and controller manager: the same three for both modes, on the host or in the node."""

import os
import random
import socket

from pki import kubeconfig, kubeconfig_file, make_authority, server_certificate
from processes import start, wait_until
from settings import PKI, SERVICES, STATE, Failure, run

CORE = ("etcd", "apiserver")


def kubectl(*arguments, **more):
    return run("kubectl", "--kubeconfig", kubeconfig_file("admin"), *arguments, **more)


def is_ready():
    return kubectl("get", "--raw", "/readyz", "--request-timeout=2s", check=False).returncode == 0


def start_servers(begin, address, ports, *flags):
    """`begin` is how to start a program; `ports` are those of the API server, of etcd and of etcd's peers."""
    port, etcd_port, peer_port = ports
    make_authority()
    server_certificate(address)
    server = f"https://{address}:{port}"
    kubeconfig("admin", server, "/O=system:masters/CN=admin")
    kubeconfig("controllers", server, "/CN=system:kube-controller-manager")
    etcd, peer = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    begin("etcd", "etcd", "--data-dir", STATE / "etcd", "--unsafe-no-fsync", "--log-level=warn",
          "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
          "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
    begin("apiserver", "kube-apiserver", f"--etcd-servers={etcd}",
          f"--bind-address={address}", f"--advertise-address={address}", f"--secure-port={port}",
          f"--tls-cert-file={PKI}/apiserver.crt", f"--tls-private-key-file={PKI}/apiserver.key",
          f"--client-ca-file={PKI}/ca.crt",
          "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
          f"--service-account-key-file={PKI}/sa.key", f"--service-account-signing-key-file={PKI}/sa.key",
          f"--service-cluster-ip-range={SERVICES}", "--allow-privileged=true",
          "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
          *flags, *os.environ.get("PORTREEVE_CLUSTER_APISERVER_ARGS", "").split())


def wait_ready():
    wait_until(is_ready, "readiness of the API server", alive=CORE)


def start_controllers(begin, *flags):
    as_itself = f"kubeconfig={kubeconfig_file('controllers')}"
    # Under its default of 20 requests a second this server spends 4 s more on making its credentials.
    begin("controllers", "kube-controller-manager", f"--{as_itself}", f"--authentication-{as_itself}",
          f"--authorization-{as_itself}", f"--service-account-private-key-file={PKI}/sa.key",
          f"--root-ca-file={PKI}/ca.crt", f"--cluster-signing-cert-file={PKI}/ca.crt",
          f"--cluster-signing-key-file={PKI}/ca.key", "--use-service-account-credentials=true",
          "--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=500", *flags)


def wait_usable():
    """No pod can be created before its service account exists."""
    kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")


def free_ports(count):
    """Below the range from which the kernel takes the ports of outgoing connections: a port found free stays free."""
    held = []
    try:
        for port in random.sample(range(20000, 30000), 200):
            try:
                held.append(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            if len(held) == count:
                return [one.getsockname()[1] for one in held]
        raise Failure("no free ports between 20000 and 30000 on 127.0.0.1: something else holds them")
    finally:
        for one in held:
            one.close()


def up():
    # The API server would write its address into the Service `kubernetes`, and a loopback address is refused there.
    start_servers(start, "127.0.0.1", free_ports(3), "--endpoint-reconciler-type=none")
    wait_ready()
    start_controllers(start, "--secure-port=0")
    wait_usable()
