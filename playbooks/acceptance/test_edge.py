"""The edges."""

import csv
import json

from machines import eventually, hosts, http, is_kept_running, python, root, say, this, with_role

testinfra_hosts = hosts("edge")
OK = 200
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's first message of a client that would like TLS; a server answers with one letter."""


def up(host, backend):
    """The servers that a backend believes in."""
    _status, page = http(host, f"http://{this(host).address}:8404/;csv")
    rows = csv.DictReader(page.removeprefix("# ").splitlines())
    servers = [
        row for row in rows if row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")
    ]
    return [row["svname"] for row in servers if row["status"].startswith("UP")]


def test_the_service_is_kept_running(host):
    is_kept_running(host, "haproxy")


def test_it_has_a_primary_to_send_writes_to(host):
    def holds():
        status, _body = http(host, f"http://{this(host).address}:8404/healthz")
        assert status == OK, f"/healthz answered {status}"

    eventually(holds)


def test_writes_go_to_the_primary_alone(host):
    def holds():
        member = with_role("postgresql")[0]
        told = json.loads(http(host, f"http://{member.address}:8008/cluster")[1])["members"]
        primaries = [each["name"] for each in told if each["role"] == "leader"]
        servers = up(host, "postgresql_primary")
        assert servers == primaries, f"it sends writes to {servers or 'nobody'}, the primary is {primaries}"

    eventually(holds)


def test_a_database_answers_on_both_ports(host):
    def holds():
        for port in (5432, 5433):
            answer = say(host, this(host).address, port, SSL_REQUEST, at_most=1)
            assert answer in ("N", "S"), f"port {port} answered {answer!r}"

    eventually(holds)


def test_a_pool_before_it_can_be_held(host):
    is_kept_running(host, "pgbouncer")

    def holds():
        answer = say(host, this(host).address, 6432, SSL_REQUEST, at_most=1)
        assert answer in ("N", "S"), f"port 6432 answered {answer!r}"
        root(host, "/usr/local/lib/dcctl/pool look")

    eventually(holds)


def test_it_can_be_measured_and_steered(host):
    _status, page = http(host, f"http://{this(host).address}:8404/metrics")
    assert "haproxy_server_status" in page, "no metrics of HAProxy's on /metrics"
    told = python(
        host,
        "import os, stat; s = os.stat('/run/haproxy/admin.sock'); print(stat.S_ISSOCK(s.st_mode))",
    )
    assert told.strip() == "True", "there is no runtime socket"
