"""Prometheus."""

import json

from machines import eventually, hosts, http, is_kept_running, this, with_role

testinfra_hosts = hosts("prometheus")
OK = 200
ASKED = {"edge": "edge", "agent": "agent", "replication": "replication", "patroni": "postgresql"}
"""Its jobs, and the role of the machines that each asks."""


def ask(host, path):
    """What its API answers."""
    status, body = http(host, f"http://{this(host).address}:9090/api/v1/{path}")
    assert status == OK, f"/api/v1/{path} answered {status}"
    return json.loads(body)["data"]


def test_the_service_is_kept_running(host):
    is_kept_running(host, "prometheus")


def test_it_asks_every_machine_of_both_sites(host):
    def holds():
        asked = {
            (each["labels"]["job"], each["labels"]["machine"])
            for each in ask(host, "targets?state=active")["activeTargets"]
        }
        wanted = {(job, machine.name) for job, role in ASKED.items() for machine in with_role(role)}
        assert asked == wanted, f"it asks {sorted(asked - wanted)} too much and {sorted(wanted - asked)} not"

    eventually(holds)


def test_edges_agents_and_databases_answer_it(host):
    def holds():
        silent = [
            f"{each['labels']['job']} on {each['labels']['machine']} ({each['lastError'] or each['health']})"
            for each in ask(host, "targets?state=active")["activeTargets"]
            if each["labels"]["job"] in ("edge", "agent", "patroni") and each["health"] != "up"
        ]
        assert not silent, f"no metrics from {', '.join(silent)}"

    eventually(holds)


def test_its_alerts_are_loaded(host):
    groups = ask(host, "rules")["groups"]
    broken = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
    assert groups, "it has no rules"
    assert not broken, f"{', '.join(broken)} cannot be evaluated"
