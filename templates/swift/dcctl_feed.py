"""Swift proxy middleware: tells dcctl which objects were written, for applications without an outbox.

Every acknowledged PUT, POST, COPY and DELETE of an object leaves its name in the proxies' memcached, under a
number that counts up for each container. A signed request for ``/v1/ACCOUNT/CONTAINER/.dcctl-feed?after=N``
answers with what came after N. A change that is forgotten (memcached was restarted, or is full) costs time
and nothing else: the replicator's passes find it. Requests that bring their own timestamp are the
replicator's own and are not told.

Goes after ``cache`` and ``container_sync`` and before authentication and ``slo``:

    [filter:dcctl_feed]
    paste.filter_factory = dcctl_feed:filter_factory
"""

import json
import time
from urllib.parse import parse_qs

NAME = ".dcctl-feed"
KEPT_S = 3600
AT_ONCE = 500
WRITES = ("PUT", "POST", "DELETE", "COPY")


class Feed:
    def __init__(self, app):
        self.app = app

    def __call__(self, env, start_response):
        _, version, account, container, name = (env["PATH_INFO"].split("/", 4) + [""] * 5)[:5]
        cache = env.get("swift.cache")
        if version != "v1" or not name or cache is None:
            return self.app(env, start_response)
        signed = env.get("swift.authorize_override", False)
        key = f"dcctl-feed/{account}/{container}"
        if name == NAME and env["REQUEST_METHOD"] == "GET" and signed:
            body = json.dumps(self.changes(cache, key, env.get("QUERY_STRING", ""))).encode()
            start_response(
                "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            )
            return [body]
        if env["REQUEST_METHOD"] not in WRITES or signed or env.get("swift.source"):
            return self.app(env, start_response)

        def start(status, headers, exc_info=None):
            if status[0] == "2" or (env["REQUEST_METHOD"] == "DELETE" and status[:3] == "404"):
                self.tell(cache, key, name)
            return start_response(status, headers, exc_info)

        return self.app(env, start)

    def tell(self, cache, key, name):
        try:
            number = cache.incr(key)
            told = name.encode("latin-1").decode()  # WSGI's spelling of UTF-8
            cache.set(f"{key}/{number}", [told, time.time()], time=KEPT_S)
        except Exception:  # the write is done: what is not told is found by a pass
            return

    def changes(self, cache, key, query):
        head = int(cache.get(key) or 0)
        after = int(parse_qs(query).get("after", [str(head)])[0])
        after = after if 0 <= after <= head else 0
        until = min(head, after + AT_ONCE)
        found = [(number, cache.get(f"{key}/{number}")) for number in range(after + 1, until + 1)]
        return {"until": until, "changes": [[number, *one] for number, one in found if one]}


def filter_factory(_global_conf, **_local_conf):
    return Feed
