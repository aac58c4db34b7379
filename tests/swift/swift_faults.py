"""Swift proxy middleware for the torture: replicators meet refusals and bodies that end too early.

``faults.json`` beside this file says how often, as a share of signed requests; it is read once a second.
"""

import json
import random
import time
from pathlib import Path

REFUSALS = ["503 Service Unavailable", "498 Rate Limited", "429 Too Many Requests"]
SHARES = Path(__file__).with_name("faults.json")


class Faults:
    def __init__(self, app):
        self.app = app
        self.read_at = 0.0
        self.shares = {}

    def __call__(self, env, start_response):
        if time.monotonic() - self.read_at > 1:
            self.read_at = time.monotonic()
            try:
                self.shares = json.loads(SHARES.read_text())
            except (OSError, ValueError):
                self.shares = {}
        dice = random.random()  # noqa: S311
        if dice < self.shares.get("refuse", 0):
            status = random.choice(REFUSALS)  # noqa: S311
            start_response(status, [("Content-Length", "0"), ("Retry-After", "0")])
            return [b""]
        if env["REQUEST_METHOD"] == "GET" and dice < self.shares.get("truncate", 0):
            body = b"".join(self.app(env, start_response))
            return [body[: len(body) // 2]]
        return self.app(env, start_response)


def filter_factory(_global_conf, **_local_conf):
    return Faults
