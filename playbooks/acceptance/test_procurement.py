"""The application."""

import json

from machines import eventually, hosts, http, is_kept_running, root, this, with_role

testinfra_hosts = hosts("procurement")
OK = 200
PARTS = {"cdb": 8080, "documents": 8081, "live": 8082}
PROGRAM = "/opt/dcctl/procurement/current/bin/procurement"
SCHEDULER = 8083
SECRETS = ("postgresql_app", "brokers", "signing", "swift_documents", "swift_temp_url", "pgpass")


def asked(host, part, path):
    """What a part of this machine answers: its status, and what it says."""
    status, body = http(host, f"http://{this(host).address}:{PARTS[part]}{path}")
    return status, json.loads(body)


def test_the_application_is_kept_running(host):
    is_kept_running(host, "procurement.target")
    units = [f"procurement-{part}.service" for part in (*PARTS, "auction")]
    # One that is started again and again is between two starts most of the time.
    states = host.run("systemctl is-active %s" + " %s" * (len(units) - 1), *units).stdout.split()
    down = [f"{unit} is {state}" for unit, state in zip(units, states, strict=True) if state != "active"]
    assert not down, ", ".join(down)


def test_every_part_can_serve(host):
    def holds():
        for part in PARTS:
            status, said = asked(host, part, "/readyz")
            bad = [
                f"{name}: {check.get('saw', check)}"
                for name, check in said["checks"].items()
                if not check["ok"]
            ]
            assert status == OK, f"{part} is not ready: {'; '.join(bad)}"

    eventually(holds)


def test_the_documents_can_be_written_and_read(host):
    def holds():
        status, said = asked(host, "documents", "/healthz/deep")
        assert status == OK, f"put, get and compare: {said['checks']['storage']}"

    eventually(holds)


def test_acknowledged_writes_are_at_both_sites(host):
    if len({machine.place for machine in with_role("postgresql")}) == 1:
        return

    def holds():
        _status, said = asked(host, "cdb", "/healthz/deep")
        assert said["checks"]["database"].get("single_copy") is False, f"{said['checks']['database']}"

    eventually(holds)


def test_the_schema_is_this_versions(host):
    said = root(
        host,
        "-u procurement sh -c %s",
        f"set -a; . /etc/procurement/environment; {PROGRAM} migrate --check",
    )
    assert said == "current", f"a migration is {said}"


def test_every_edge_leads_to_it(host):
    def holds():
        for edge in with_role("edge"):
            for path in ("/api/2.5/tenders", "/auctions/none"):
                status, body = http(host, f"http://{edge.address}:8000{path}")
                said = json.loads(body) if body.startswith("{") else {}
                ours = "data" in said or said.get("status") == "error"
                assert ours, f"{edge.name} answered {path} with {status}: {body[:80]!r}"

    eventually(holds)


def test_one_machine_schedules_auctions(host):
    def holds():
        probe = (
            "import socket, sys\n"
            "for address in sys.argv[1:]:\n"
            "    with socket.socket() as line:\n"
            "        line.settimeout(2)\n"
            f"        print(line.connect_ex((address, {SCHEDULER})))\n"
        )
        machines = with_role("procurement")
        told = host.run("python3 -c %s" + " %s" * len(machines), probe, *(m.address for m in machines)).stdout
        holders = [machine.name for machine, code in zip(machines, told.split(), strict=True) if code == "0"]
        assert len(holders) == 1, f"schedulers run on {', '.join(holders) or 'no machine'}"

    eventually(holds)


def test_its_secrets_are_its_own(host):
    paths = [f"/etc/procurement/{name}" for name in SECRETS]
    told = root(host, "stat -c %s" + " %s" * len(paths), "%n %U %a", *paths).splitlines()
    open_ = [line for line in told if line.split()[1:] != ["procurement", "400"]]
    assert not open_, f"others may read {', '.join(open_)}"
