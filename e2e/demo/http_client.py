"""Plain HTTP for the demo: one answer type, no exceptions for refusals."""
import base64
import collections
import http.client
import json
import urllib.parse

Answer = collections.namedtuple("Answer", "status reason headers text")


def send(url, method="GET", headers=None, body=None, timeout=10):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", body=body, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.reason, response.headers, response.read().decode("utf-8", "replace"))
    finally:
        connection.close()


def form(url, fields, basic=None):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    if basic:
        pair = ":".join(urllib.parse.quote(part, safe="") for part in basic)
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return send(url, "POST", headers, urllib.parse.urlencode(fields))


def control(port, method, path, body=None):
    """Asks the control port of the token service, given as URL."""
    answer = send(port + path, method, {"content-type": "application/json"}, json.dumps(body or {}))
    if answer.status != 200:
        raise AssertionError(f"control {path}: {answer.status} {answer.text}")
    return json_of(answer)


def json_of(answer):
    try:
        return json.loads(answer.text)
    except ValueError:
        return {}


def jwt_claims(token):
    """Claims of a JWT, unverified: the demo only shows what the application received."""
    try:
        payload = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
