"""An HTTP proxy that breaks on demand: every call between two parts of the system goes through one listener of it."""
import contextlib
import http.client
import http.server
import re
import socket
import threading
import time


class FaultProxy:
    """One listener before one target. `fault` is applied to requests whose path matches; everything is counted."""

    def __init__(self, port, target):
        self.port, self.target = port, target
        self.faults, self.calls, self.bodies = [], {}, []
        self.answer_headers = {}
        self.server = None
        self.up()

    # --- what tests turn

    def up(self):
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self.server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self):
        """Nobody listens: connections are refused, and open ones end."""
        server, self.server = self.server, None
        if server:
            server.shutdown()
            server.server_close()
            server.end_all()

    @contextlib.contextmanager
    def fault(self, kind, path=".*", **how):
        """Until the end of the block: down, hang, slow, status, body, cut, forge."""
        if kind == "down":
            self.down()
            try:
                yield
            finally:
                self.up()
            return
        entry = (re.compile(path), kind, how)
        self.faults.append(entry)
        try:
            yield
        finally:
            self.faults.remove(entry)
            if self.server:
                self.server.end_all()

    def count(self, path):
        return sum(number for known, number in self.calls.items() if re.fullmatch(path, known))

    def find(self, path):
        return next(((kind, how) for pattern, kind, how in self.faults if pattern.fullmatch(path)), (None, {}))


class _Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments):
        self.open = set()
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def end_all(self):
        for one in list(self.open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_):
        pass  # a client that hung up, or a connection that was ended on purpose


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def do_GET(self):
        self.pass_on()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def pass_on(self):
        owner, path = self.owner, self.path.split("?")[0]
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        owner.calls[path] = owner.calls.get(path, 0) + 1
        owner.bodies.append((path, body))
        kind, how = owner.find(path)
        if kind == "hang":
            time.sleep(how.get("seconds", 20))
            return
        if kind == "slow":
            time.sleep(how["seconds"])
        if kind == "garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
            return
        if kind in ("status", "body"):
            self.answer(how.get("status", 200), how.get("type", "application/json"), how.get("body", b"{}"))
            return
        status, headers, answer = self.ask(body)
        if kind == "forge":
            # Another last character but one of the signature: still base64url, no longer the signature.
            answer = re.sub(rb"(\.[A-Za-z0-9_-]{20,})([A-Za-z0-9_-])([A-Za-z0-9_-])$", lambda found: found[1] + (b"A" if found[2] != b"A" else b"B") + found[3], answer)
        if kind == "cut":
            self.head(status, headers, len(answer) + 10)
            self.wfile.write(answer[: len(answer) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.head(status, headers, len(answer))
        self.wfile.write(answer)

    def ask(self, body):
        host, port = self.owner.target
        connection = http.client.HTTPConnection(host, port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "content-length", "transfer-encoding")}
        try:
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except OSError:
            return 502, [("content-type", "text/plain")], b"the target is away"
        finally:
            connection.close()

    def head(self, status, headers, length):
        self.send_response_only(status)
        for name, value in [*headers, *self.owner.answer_headers.items()]:
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "keep-alive"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(length))
        self.end_headers()

    def answer(self, status, kind, body):
        self.head(status, [("content-type", kind)], len(body))
        self.wfile.write(body)

    def log_message(self, *_):
        pass
