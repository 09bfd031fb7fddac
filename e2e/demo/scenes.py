"""The scenes of the demo, in order. Each shows real requests and real answers."""
import json
import pathlib
import subprocess
import threading
import time

from http_client import json_of, jwt_claims, send

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def play(stage, told):
    told.heading("Nobody gets in without a token; the answer says which one is needed")
    answer = stage.get("/orders/7")
    told.exchange("GET /orders/7", answer, ["WWW-Authenticate"])
    told.check("401", answer.status == 401, answer.status)
    challenge = answer.headers.get("WWW-Authenticate", "")
    told.check("the challenge names scheme and scope", 'Bearer realm="portreeve", scope="orders:read"' in challenge, challenge)

    token = phantom_token(stage, told)
    missing_scope(stage, told, token)
    explained(stage, told)
    policy_edit(stage, told, token)
    broken_policy(stage, told, token)
    rate_limit(stage, told, token)
    revocation(stage, told, token)


def phantom_token(stage, told):
    told.heading("The registered application gets an opaque token; the API gets a verified JWT")
    client_id, _ = stage.credentials()
    told.say(f"   client {client_id} was registered by RFC 7591; its credentials lie in state/secrets/default/shop-oauth.yaml")
    token = stage.token("orders:read")
    told.check("the token is opaque", token and "." not in token, token[:12])
    answer = stage.get("/orders/7", token)
    told.exchange(f"GET /orders/7   Authorization: Bearer {token[:12]}…", answer)
    told.say(f"   {time.monotonic() - stage.began:.1f} s after the programs were started")
    told.check("200", answer.status == 200, answer.status)
    received = json_of(answer).get("headers", {})
    jwt = received.get("authorization", "").removeprefix("Bearer ")
    claims = jwt_claims(jwt)
    told.say(f"   the API received  Authorization: Bearer {jwt[:24]}…")
    told.say(f"   with the claims   {json.dumps({name: claims.get(name) for name in ('iss', 'aud', 'client_id', 'scope')})}")
    told.say(f"   and               Forwarded: {received.get('forwarded')}")
    told.check("the JWT is of the token service, for this API", claims.get("iss") == stage.issuer and "https://orders.example.com" in str(claims.get("aud")))
    told.check("the opaque token did not reach the API", token not in answer.text)
    told.check("/health is open by its own policy", stage.get("/health").status == 200)
    return token


def missing_scope(stage, told, token):
    told.heading("A token without the scope is refused, by the same rule for every pod")
    answer = send(stage.proxy + "/orders", "POST", {"authorization": f"Bearer {token}", "content-type": "application/json"}, "{}")
    told.exchange("POST /orders   (token has orders:read, the rule wants orders:write)", answer, ["WWW-Authenticate"])
    told.check("403 insufficient_scope", answer.status == 403 and "insufficient_scope" in answer.headers.get("WWW-Authenticate", ""), answer.status)
    stage.refused_id = answer.headers.get("portreeve-decision-id", "")


def explained(stage, told):
    told.heading("Every decision has a record that can be explained afterwards")
    command = [stage.bin["portreeve"], "explain", stage.refused_id, "--records", stage.records]
    story = ""
    for _ in range(100):
        story = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
        if "outcome" in story:
            break
        time.sleep(0.02)
    told.say(f"   $ portreeve explain {stage.refused_id} --records records.log")
    for line in story.splitlines():
        told.say(f"     {line}")
    told.check("it names rule, policy and reason", "rule write of ApiRoute default/orders" in story and "lacks a scope" in story)


class Traffic:
    """Asks again and again in the background, and counts answers that should not be."""

    def __init__(self, stage, token, path, allowed):
        self.stage, self.token, self.path, self.allowed = stage, token, path, allowed
        self.asked, self.wrong, self.over = 0, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            try:
                status = self.stage.get(self.path, self.token).status
            except OSError as error:
                status = repr(error)
            self.asked += 1
            if status not in self.allowed:
                self.wrong.append(status)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def edit(stage, file, old, new):
    path = stage.source / file
    text = path.read_text()
    if old not in text:
        raise AssertionError(f"{file} does not hold {old!r}")
    # By a rename, so that the change is complete at once: see docs/file-mode.md.
    changed = path.with_suffix(".new")
    changed.write_text(text.replace(old, new))
    changed.rename(path)
    return time.monotonic()


def until(holds, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return time.monotonic()
        time.sleep(0.002)
    return None


def policy_edit(stage, told, token):
    told.heading("A policy is edited in its file and live a moment later; no request is lost meanwhile")
    with Traffic(stage, token, "/orders/7", {200, 403}) as traffic:
        saved = edit(stage, "orders.yaml", '["orders:read"]', '["orders:audit"]')
        live = until(lambda: stage.get("/orders/7", token).status == 403)
        told.check("the stricter policy is live", live is not None)
        if live:
            told.say(f"   live {1000 * (live - saved):.0f} ms after the file was written")
        edit(stage, "orders.yaml", '["orders:audit"]', '["orders:read"]')
        told.check("and back again", until(lambda: stage.get("/orders/7", token).status == 200) is not None)
    told.check(f"0 of {traffic.asked} requests failed meanwhile", not traffic.wrong and traffic.asked > 0, traffic.wrong[:5])


def broken_policy(stage, told, token):
    told.heading("A broken policy closes its own route, says why, and harms nobody else")
    with Traffic(stage, token, "/orders/7", {200}) as traffic:
        edit(stage, "invoices.yaml", "name: login", "name: lgoin")
        closed = until(lambda: stage.get("/invoices/1", token).status == 503)
        answer = stage.get("/invoices/1", token)
        told.exchange("GET /invoices/1", answer)
        told.check("its route answers 503", closed is not None, answer.status)
        until(lambda: "lgoin" in stage.status("ApiPolicy", "invoices"))
        status = stage.status("ApiPolicy", "invoices")
        line = next((line.strip() for line in status.splitlines() if "lgoin" in line), "")
        told.say(f"   state/status says: {line}")
        told.check("the status names the field and the cure", "tokenServiceRef" in line and "does not exist" in line, status[:200])
        edit(stage, "invoices.yaml", "name: lgoin", "name: login")
        told.check("corrected, it opens again", until(lambda: stage.get("/invoices/1", token).status in (200, 403)) is not None)
    told.check(f"all {traffic.asked} requests to the other route were answered 200", not traffic.wrong, traffic.wrong[:5])
    edit(stage, "invoices.yaml", "kind: ApiPolicy", "kind: ApiPolcy")
    told.check("a misspelt kind is told with file, line and column", until(lambda: misspelt(stage)) is not None)
    edit(stage, "invoices.yaml", "kind: ApiPolcy", "kind: ApiPolicy")


def misspelt(stage):
    faults = stage.state / "status" / "faults.yaml"
    text = faults.read_text() if faults.exists() else ""
    return "invoices.yaml:" in text and "ApiPolcy" in text


def rate_limit(stage, told, token):
    told.heading("An application that asks too often is told when to ask again (docs/traffic/limits.md)")
    policy = stage.source / "limits.yaml"
    written = policy.with_suffix(".new")
    written.write_text((ROOT / "manifests/traffic/limits.yaml").read_text())
    written.rename(policy)
    live = until(lambda: "RateLimit" in stage.get("/orders/7", token).headers)
    told.check("the limit is live", live is not None)
    time.sleep(1.1)
    answers = [stage.get("/orders/7", token) for _ in range(8)]
    refused = next((answer for answer in answers if answer.status == 429), answers[-1])
    told.exchange("GET /orders/7, eight times in a row", refused, ["Retry-After", "RateLimit-Policy", "RateLimit"])
    told.check("five at once pass, then 429 rate_limited", [answer.status for answer in answers[:5]] == [200] * 5
               and json_of(refused).get("reason") == "rate_limited", [answer.status for answer in answers])
    told.check("Retry-After says 1 s", refused.headers.get("Retry-After") == "1", refused.headers.get("Retry-After"))
    other = stage.get("/health")
    told.check("another rule is not limited", other.status == 200 and "RateLimit" not in other.headers, other.status)
    policy.unlink()
    def unlimited():
        answer = stage.get("/orders/7", token)
        return answer.status == 200 and "RateLimit" not in answer.headers
    told.check("without the policy there is no limit", until(unlimited) is not None)


def revocation(stage, told, token):
    told.heading("A revoked token stops within the bound that the TokenService states (cache.maxTtl: 2s)")
    told.check("the token works", stage.get("/orders/7", token).status == 200)
    stage.revoke(token)
    revoked = time.monotonic()
    stopped = until(lambda: stage.get("/orders/7", token).status == 401, 10)
    seconds = (stopped or time.monotonic()) - revoked
    told.say(f"   401 after {seconds:.2f} s")
    told.check("within 2 s, and the time of one request", stopped is not None and seconds < 2.5, f"{seconds:.2f} s")
