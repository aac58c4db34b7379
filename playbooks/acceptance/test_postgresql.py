"""The database's members."""

import json

from machines import (
    ENVIRONMENT,
    MACHINES,
    eventually,
    hosts,
    http,
    is_kept_running,
    python,
    root,
    this,
    with_role,
)

testinfra_hosts = hosts("postgresql")
SYNC = f"/dcctl/{ENVIRONMENT}/patroni/{ENVIRONMENT}/sync"
UNAUTHORIZED = 401


def members(host):
    return json.loads(http(host, f"http://{this(host).address}:8008/cluster")[1])["members"]


def names(host, role):
    return [member["name"] for member in members(host) if member["role"] == role]


def ask(host, query):
    """What the local server answers."""
    return root(host, "-u postgres psql -XAtc %s", query)


def test_patroni_is_kept_running(host):
    is_kept_running(host, "patroni")


def test_the_packages_own_database_stays_stopped(host):
    state = host.run("systemctl is-enabled postgresql").stdout.strip()
    assert state in ("disabled", "masked", "not-found", ""), f"postgresql.service is {state}"


def test_it_runs_as_a_member(host):
    def holds():
        state = {member["name"]: member["state"] for member in members(host)}.get(this(host).name, "missing")
        assert state in ("running", "streaming"), f"its state is {state}"

    eventually(holds)


def test_patroni_can_read_its_own_timeline(host):
    """A member that cannot is never promoted, and nothing else shows it before the day it must be."""

    def holds():
        answer = json.loads(http(host, f"http://{this(host).address}:8008/patroni")[1])
        assert answer.get("timeline"), "Patroni cannot read the timeline of its own server"

    eventually(holds)


def test_one_member_is_the_primary(host):
    def holds():
        primaries = names(host, "leader")
        assert len(primaries) == 1, f"primaries are {primaries or 'none'}"
        recovering = ask(host, "SELECT pg_is_in_recovery()") == "t"
        assert recovering == (primaries != [this(host).name]), (
            f"it is {'not ' if recovering else ''}writable and the primary is {primaries[0]}"
        )

    eventually(holds)


def test_a_synchronous_standby_at_another_place_is_named(host):
    places = {machine.name: machine.place for machine in MACHINES}
    if len({machine.place for machine in with_role("postgresql")}) == 1:
        return

    def holds():
        primary, standbys = names(host, "leader"), names(host, "sync_standby")
        assert standbys, "none is named: SINGLE-COPY"
        assert any(places[name] != places[primary[0]] for name in standbys), (
            f"{', '.join(standbys)} at {places[primary[0]]}, where the primary is"
        )

    eventually(holds)


def test_commits_wait_for_the_standby(host):
    assert ask(host, "SHOW synchronous_commit") == "on", "synchronous_commit is not on"


def test_pages_carry_checksums(host):
    assert ask(host, "SHOW data_checksums") == "on", "the cluster was made without"


def test_the_application_may_only_use_its_database(host):
    rights = ask(
        host,
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
        " FROM pg_roles WHERE rolname = 'app'",
    )
    assert rights == "f", "the role app has more rights" if rights else "there is no role app"


def test_the_application_sees_the_standby(host):
    """Its health says SINGLE-COPY and lag only where it may see them; it is a member of nothing else."""
    if names(host, "leader") != [this(host).name]:
        return
    granted = ask(
        host,
        "SELECT string_agg(roleid::regrole::text, ' ') FROM pg_auth_members WHERE member = 'app'::regrole",
    )
    assert granted == "pg_monitor", f"the role app is a member of {granted or 'nothing'}"


def test_the_api_asks_who_wants_to_change_something(host):
    status, _body = http(host, f"http://{this(host).address}:8008/config", "PATCH")
    assert status == UNAUTHORIZED, f"PATCH /config without a password answered {status}"


def test_the_key_of_synchronous_standbys_has_a_version(host):
    if len(with_role("postgresql")) == 1:
        return
    voters = ",".join(f"{machine.address}:2181" for machine in with_role("zookeeper"))
    version = python(
        host,
        "import sys; from kazoo.client import KazooClient; c = KazooClient(sys.argv[1]); c.start(10);"
        " print(c.exists(sys.argv[2]).version); c.stop()",
        voters,
        SYNC,
    )
    assert int(version) > 0, f"{SYNC} is at version 0: Patroni would write it without a condition"
