"""A registration server with every oddity that servers out there have; the oddity is the first segment of the path."""

import base64
import email.utils
import http.server
import json
import threading
import time
import urllib.parse

ECHOED = ("registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at")


class Odd:
    """What the server remembers of one oddity."""

    def __init__(self, name):
        self.name = name
        self.clients = {}
        self.calls = []  # (method, seconds, status)
        self.made = 0
        self.wrong = []

    def count(self, method):
        return sum(1 for call in self.calls if call[0] == method)


class OddServer:
    def __init__(self):
        self.odds = {}
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                with outer.lock:
                    reply = outer.handle(self.command, self.path, self.headers, body)
                status, headers, content, silent = reply
                if silent:
                    time.sleep(30)
                    return
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "cache-control": "no-store", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                try:
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the operator was ended

            do_GET = do_POST = do_PUT = do_DELETE = answer

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def odd(self, name):
        return self.odds.setdefault(name, Odd(name))

    def handle(self, method, path, headers, body):
        _, name, rest, *more = path.split("/") + [""]
        odd = self.odd(name)
        if rest == "jwks":
            return 200, {}, {"keys": []}, False
        if rest == "token":
            return self.token(odd, headers, body)
        status, extra, content, silent = self.registration(odd, method, more[0], headers, body)
        odd.calls.append((method, time.monotonic(), status))
        return status, extra, content, silent

    @staticmethod
    def token(odd, headers, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        known = form.get("client_id") in odd.clients
        if headers.get("authorization", "").startswith("Basic "):
            known = base64.b64decode(headers["authorization"][6:]).decode().split(":")[0] in odd.clients
        odd.calls.append(("TOKEN", time.monotonic(), 400))
        if known:
            return 400, {}, {"error": "invalid_grant"}, False
        return 401, {}, {"error": "invalid_client"}, False

    def registration(self, odd, method, identifier, headers, body):
        before = self.before(odd, method)
        if before:
            return before
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if method == "POST":
            if odd.name == "used-up-token" or bearer != "initial":
                description = "the token was used\x1b[31m\nup"
                return 401, {}, {"error": "invalid_token", "error_description": description}, False
            odd.made += 1
            identifier = f"{odd.name}-{odd.made}"
            odd.clients[identifier] = {"metadata": {}, "token": f"t-{identifier}-0", "turn": 0, "secret": f"s-{identifier}"}
            self.accept(odd, odd.clients[identifier], json.loads(body))
            return self.describe(odd, identifier, method)
        client = odd.clients.get(identifier)
        if client is None:
            return 401, {}, {"error": "invalid_token"}, False
        if bearer != client["token"]:
            odd.wrong.append(method)
            return 401, {}, {"error": "invalid_token"}, False
        if method == "PUT":
            metadata = json.loads(body)
            echoed = [member for member in ECHOED if member in metadata]
            if echoed or metadata.pop("client_id", None) != identifier:
                odd.wrong.append(echoed)
                return 400, {}, {"error": "invalid_client_metadata"}, False
            metadata.pop("client_secret", None)
            self.accept(odd, client, metadata)
        if method == "DELETE":
            del odd.clients[identifier]
            after = {"delete-200": (200, b"{}"), "delete-401": (401, b"{}"), "delete-404": (404, b"{}")}
            status, content = after.get(odd.name, (204, b""))
            return status, {}, content, False
        return self.describe(odd, identifier, method)

    @staticmethod
    def before(odd, method):
        """Answers that come before anything is done."""
        calls = odd.count(method)
        refused = {"error": "temporarily_unavailable"}
        if odd.name == "fails-first" and method == "POST" and calls < 2:
            return 500, {}, refused, False
        if odd.name == "busy-seconds" and method == "POST" and calls < 1:
            return 429, {"retry-after": "3"}, refused, False
        if odd.name == "busy-date" and method == "POST" and calls < 1:
            now = time.time()
            dates = {"retry-after": email.utils.formatdate(now + 3, usegmt=True)}
            return 503, dates, refused, False
        if odd.name == "html" and method == "POST":
            return 200, {"content-type": "text/html"}, b"<!doctype html><p>Please sign in.", False
        if odd.name == "silent" and method == "POST":
            return 200, {}, b"", True
        if odd.name == "no-update" and method == "PUT":
            return 405, {}, b"", False
        if odd.name == "refuses" and method == "POST":
            description = "scope is \u202enot\x07 good"
            return 400, {}, {"error": "invalid_client_metadata", "error_description": description}, False
        return None

    @staticmethod
    def accept(odd, client, metadata):
        if odd.name == "drops":
            metadata.pop("contacts", None)
        if odd.name == "changes":
            metadata["scope"] = "orders:read"
        client["metadata"] = metadata

    def describe(self, odd, identifier, method):
        client = odd.clients[identifier]
        turns = odd.name == "single-use" or (method == "PUT" and odd.name != "never-rotates")
        if turns:
            client["turn"] += 1
            client["token"] = f"t-{identifier}-{client['turn']}"
        lifetime = int(time.time()) + 8 if odd.name == "expiring" else 0
        client.setdefault("expires", lifetime)
        home = "http://127.0.0.2:9" if odd.name == "foreign" else self.base
        answer = {
            **client["metadata"], "client_id": identifier, "client_secret": client["secret"],
            "client_secret_expires_at": client["expires"],
        }
        if odd.name != "no-management":
            if turns or method == "POST":
                answer["registration_access_token"] = client["token"]
            answer["registration_client_uri"] = f"{home}/{odd.name}/reg/{identifier}"
        return (201 if method == "POST" else 200), {}, answer, False
