"""Keys and certificates of one cluster, and the kubeconfigs that hold them."""

import base64
import json

from settings import API_SERVICE_IP, PKI, STATE, run

EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
DAYS = "30"


def make_authority():
    """One authority for servers and clients, and the key that signs the tokens of service accounts."""
    run("openssl", "req", "-x509", *EC_KEY, "-days", DAYS, "-subj", "/CN=portreeve-test-cluster",
        "-keyout", PKI / "ca.key", "-out", PKI / "ca.crt")
    run("openssl", "genrsa", "-out", PKI / "sa.key", "2048")


def certificate(name, subject, *alternative_names):
    at = PKI / name
    extensions = at.with_suffix(".ext")
    extensions.write_text(
        f"subjectAltName={','.join(alternative_names or [f'DNS:{name}'])}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    request = at.with_suffix(".csr")
    run("openssl", "req", *EC_KEY, "-subj", subject, "-keyout", at.with_suffix(".key"), "-out", request)
    run("openssl", "x509", "-req", "-in", request, "-CA", PKI / "ca.crt", "-CAkey", PKI / "ca.key", "-CAcreateserial",
        "-days", DAYS, "-extfile", extensions, "-out", at.with_suffix(".crt"))


def server_certificate(address):
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    names = [f"DNS:{name}" for name in (*service, "localhost")]
    certificate("apiserver", "/CN=kube-apiserver", *names, "IP:127.0.0.1", f"IP:{API_SERVICE_IP}", f"IP:{address}")


def kubeconfig_file(name):
    return STATE / f"{name}.kubeconfig"


def kubeconfig(name, server, subject, *alternative_names):
    """With everything inside it, so that the one file can be handed to any program. JSON is YAML."""
    certificate(name, subject, *alternative_names)

    def embedded(file):
        return base64.b64encode((PKI / file).read_bytes()).decode()

    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": embedded("ca.crt")}}],
        "users": [{"name": name, "user": {"client-certificate-data": embedded(f"{name}.crt"),
                                          "client-key-data": embedded(f"{name}.key")}}],
    }
    file = kubeconfig_file(name)
    file.touch(mode=0o600)
    file.write_text(json.dumps(content, indent=1))
