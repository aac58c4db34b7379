"""Swift proxy middleware: tells the timestamp of an object's body, which a POST hides, and of a write.

A plain GET or HEAD answers with the timestamp of the latest POST. Whoever replicates has to know the
body's own, or a POST's time is taken for the body's and an old body buries a newer one. The proxy knows
it and strips it at the gatekeeper; this filter, anywhere after the gatekeeper, lets it through as
``X-Object-Body-Timestamp``. Without the filter dcctl finds it out by asking, with more requests.

A write is answered with ``X-Object-Request-Timestamp``, the one that Swift gave it, so that whoever wrote
can say what exactly has to arrive at the other side.

    [filter:dcctl_stamps]
    paste.filter_factory = dcctl_stamps:filter_factory
"""


class BodyStamps:
    def __init__(self, app):
        self.app = app

    def __call__(self, env, start_response):
        def start(status, headers, exc_info=None):
            if env["REQUEST_METHOD"] in ("PUT", "POST", "DELETE") and "HTTP_X_TIMESTAMP" in env:
                headers = [*headers, ("X-Object-Request-Timestamp", env["HTTP_X_TIMESTAMP"])]
            for name, value in headers:
                if name.lower() == "x-backend-data-timestamp":
                    headers = [*headers, ("X-Object-Body-Timestamp", value)]
                    break
            return start_response(status, headers, exc_info)

        return self.app(env, start)


def filter_factory(_global_conf, **_local_conf):
    return BodyStamps
