"""Swift proxy middleware of the benchmark: counts requests by method, and answers later without work.

[filter:replication_filter]
paste.filter_factory = replication_filter:filter_factory
latency_s = 0.25
"""

import os

import eventlet


class Counted:
    def __init__(self, app, latency_s, path):
        self.app, self.latency_s = app, latency_s
        self.log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, env, start_response):
        if env["PATH_INFO"].startswith("/v1/") and not env.get("swift.source"):
            kind = "object" if env["PATH_INFO"].split("/", 4)[4:] else "listing"
            os.write(self.log, f"{env['REQUEST_METHOD']} {kind}\n".encode())
            if self.latency_s:
                eventlet.sleep(self.latency_s)
        return self.app(env, start_response)


def filter_factory(global_conf, latency_s="0", **_local_conf):
    path = f"{global_conf['swift_dir']}/requests.log"
    return lambda app: Counted(app, float(latency_s), path)
