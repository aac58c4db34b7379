"""The agents: beside each edge, and at the witness."""

import json

from machines import ENVIRONMENT, eventually, hosts, http, is_kept_running, root, this, with_role

testinfra_hosts = hosts("agent")
OK = 200
OBSERVATIONS = f"/dcctl/{ENVIRONMENT}/observations"


def health(host):
    status, body = http(host, f"http://{this(host).address}:8405/healthz")
    return status, json.loads(body)


def test_the_service_is_kept_running(host):
    is_kept_running(host, "dcctl-agent")


def test_it_is_well(host):
    def holds():
        status, said = health(host)
        assert status == OK, f"/healthz answered {status}: {'; '.join(said['reasons'])}"

    eventually(holds)


def test_it_can_be_measured(host):
    _status, page = http(host, f"http://{this(host).address}:8405/metrics")
    assert "dcctl_agent_lease_age_seconds" in page, "its lease's age is not on /metrics"


def test_its_edge_is_as_wanted(host):
    if "edge" not in this(host).roles:
        return

    def holds():
        _status, said = health(host)
        wanted = {site: state == "active" for site, state in said["sites"].items()}
        assert said["rotation"] == wanted, f"in rotation are {said['rotation']}, wanted is {said['sites']}"

    eventually(holds)


def test_it_alone_may_steer_the_edge(host):
    if "edge" not in this(host).roles:
        return
    told = root(host, "stat -c '%a %U %G' /run/haproxy/agent.sock")
    assert told == "660 root dcctl-agent", f"the runtime socket is {told}"
    members = root(host, "getent group dcctl-agent").rpartition(":")[2]
    assert not members, f"{members} may use the runtime socket too"
    user = root(host, "systemctl show --property=User --value dcctl-agent")
    assert user not in ("", "root"), "the agent runs as root"


def test_everybody_can_read_what_it_sees(host):
    def holds():
        voters = ",".join(f"{machine.address}:2181" for machine in with_role("zookeeper"))
        program = (
            "import sys; from kazoo.client import KazooClient; c = KazooClient(sys.argv[1]); c.start(10);"
            " print(c.exists(sys.argv[2]) is not None); c.stop()"
        )
        interpreter = "/opt/dcctl/dcctl/current/bin/python"
        told = host.run(f"{interpreter} -c %s %s %s", program, voters, f"{OBSERVATIONS}/{this(host).name}")
        assert told.stdout.strip() == "True", "its observation is not in ZooKeeper"

    eventually(holds)
