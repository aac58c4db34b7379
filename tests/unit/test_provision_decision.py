"""What a provision plan says: one case per row of its truth table."""

from dataclasses import replace

import pytest

from dcctl.domain.machine import Power, Server, ServerSpec, Size
from dcctl.domain.provision import Do, Plan, decide_destroy, decide_provision
from dcctl.domain.refusal import Refusal

GIB = 2**30
SIZE = Size(vcpus=1, memory_bytes=GIB, disk_bytes=4 * GIB)

SPEC = ServerSpec(
    name="east-db-1",
    environment="lab",
    site="east",
    group="db",
    roles=("base", "postgresql"),
    size=SIZE,
    flavour="small",
    image="debian-12",
    network="dcctl",
    address="192.0.2.20",
)
SERVER = Server(
    id="id-1",
    name="east-db-1",
    site="east",
    owner="lab",
    power=Power.ON,
    status="ACTIVE",
    hypervisor="host-1",
    address="192.0.2.20",
    size=SIZE,
    host_key="ssh-ed25519 AAAA",
)


def plan(*servers: Server, prune: bool = False) -> Plan:
    decision = decide_provision("lab", [SPEC], {"east": servers}, prune=prune)
    assert isinstance(decision, Plan), decision
    return decision


def refusal(*servers: Server, prune: bool = False) -> str:
    decision = decide_provision("lab", [SPEC], {"east": servers}, prune=prune)
    assert isinstance(decision, Refusal), decision
    (reason,) = decision.reasons
    return reason


@pytest.mark.parametrize(
    ("servers", "do", "differences"),
    [
        ((), Do.CREATE, ()),
        ((SERVER,), Do.KEEP, ()),
        ((replace(SERVER, power=Power.OFF),), Do.POWER_ON, ()),
        ((replace(SERVER, power=Power.SUSPENDED),), Do.POWER_ON, ()),
        ((replace(SERVER, leftover=True, power=Power.UNKNOWN, address=None, size=None),), Do.MEND, ()),
        ((replace(SERVER, id="id-0", leftover=True), SERVER), Do.KEEP, ()),
        ((replace(SERVER, size=None),), Do.KEEP, ()),
        ((replace(SERVER, size=replace(SIZE, disk_bytes=0)),), Do.KEEP, ()),
        ((replace(SERVER, size=replace(SIZE, disk_bytes=9 * GIB)),), Do.KEEP, ()),
        ((replace(SERVER, size=replace(SIZE, vcpus=2)),), Do.DIFFERS, ("2 vCPUs, configured 1",)),
        (
            (replace(SERVER, size=replace(SIZE, memory_bytes=GIB // 2)),),
            Do.DIFFERS,
            ("memory 512 MiB, configured 1024 MiB",),
        ),
        (
            (replace(SERVER, size=replace(SIZE, disk_bytes=GIB)),),
            Do.DIFFERS,
            ("disk 1024 MiB, configured 4096 MiB",),
        ),
        (
            (replace(SERVER, address="192.0.2.99"),),
            Do.DIFFERS,
            ("address 192.0.2.99, configured 192.0.2.20",),
        ),
        ((replace(SERVER, address=None),), Do.DIFFERS, ("address unknown, configured 192.0.2.20",)),
        (
            (replace(SERVER, power=Power.UNKNOWN, status="UNKNOWN"),),
            Do.DIFFERS,
            ("power unknown (UNKNOWN)",),
        ),
        (
            (replace(SERVER, host_key=""),),
            Do.DIFFERS,
            ("no host key on the server: who answers there cannot be proven",),
        ),
        (
            (replace(SERVER, power=Power.OFF, size=replace(SIZE, vcpus=2)),),
            Do.POWER_ON,
            ("2 vCPUs, configured 1",),
        ),
    ],
)
def test_a_configured_server(servers: tuple[Server, ...], do: Do, differences: tuple[str, ...]) -> None:
    (action,) = plan(*servers).actions
    assert (action.do, action.differences) == (do, differences)
    assert action.spec == SPEC


ORPHAN = replace(SERVER, id="id-2", name="east-old-1", address="192.0.2.30")


def test_an_orphan_is_shown_and_kept() -> None:
    decided = plan(SERVER, ORPHAN)
    assert [(a.name, a.do) for a in decided.actions] == [("east-db-1", Do.KEEP), ("east-old-1", Do.ORPHAN)]
    assert decided.changes == ()
    assert [a.name for a in decided.drift] == ["east-old-1"]


def test_an_orphan_is_deleted_when_pruning() -> None:
    decided = plan(SERVER, ORPHAN, prune=True)
    assert [(a.name, a.do) for a in decided.changes] == [("east-old-1", Do.DELETE)]


def test_servers_of_others_are_no_part_of_a_plan() -> None:
    others = (
        replace(SERVER, id="id-3", name="x", owner=None, address="192.0.2.40"),
        replace(SERVER, id="id-4", name="y", owner="production", address="192.0.2.41"),
    )
    assert [a.name for a in plan(SERVER, *others, prune=True).actions] == ["east-db-1"]


@pytest.mark.parametrize(
    ("owner", "whose"), [(None, "nobody that dcctl knows"), ("production", "environment 'production'")]
)
def test_a_name_that_is_taken_refuses(owner: str | None, whose: str) -> None:
    assert refusal(replace(SERVER, owner=owner)) == (
        f"east: the name east-db-1 is taken by server id-1, which belongs to {whose}"
    )


def test_an_address_that_is_taken_refuses() -> None:
    assert refusal(replace(SERVER, name="x", owner=None), prune=True) == (
        "east: the address 192.0.2.20 of east-db-1 is taken by x (id-1), which belongs to nobody that dcctl"
        " knows"
    )


def test_an_address_held_by_an_orphan_refuses_unless_it_is_pruned() -> None:
    orphan = replace(ORPHAN, address=SPEC.address)
    assert refusal(orphan) == (
        "east: the address 192.0.2.20 of east-db-1 is taken by east-old-1, which is ours and not configured"
        " so any more; --prune removes orphans"
    )
    assert [a.do for a in plan(orphan, prune=True).actions] == [Do.CREATE, Do.DELETE]


def test_two_servers_of_one_name_refuse() -> None:
    assert refusal(SERVER, replace(SERVER, id="id-5")) == (
        "east: 2 servers of ours are named east-db-1 (id-1, id-5); delete one"
    )


def test_every_reason_is_given_at_once() -> None:
    other = replace(SPEC, name="east-db-2", address="192.0.2.21")
    servers = (
        replace(SERVER, owner=None),
        replace(SERVER, name="x", owner=None, address="192.0.2.21"),
    )
    decision = decide_provision("lab", [SPEC, other], {"east": servers})
    assert isinstance(decision, Refusal)
    assert len(decision.reasons) == 2


def test_sites_that_were_not_observed_are_left_alone() -> None:
    west = replace(SPEC, site="west", name="west-db-1")
    decision = decide_provision("lab", [SPEC, west], {"east": ()})
    assert isinstance(decision, Plan)
    assert [a.name for a in decision.actions] == ["east-db-1"]


def test_the_same_name_or_address_at_another_site_is_no_conflict() -> None:
    decision = decide_provision("lab", [SPEC], {"east": (), "west": (replace(SERVER, owner=None),)})
    assert isinstance(decision, Plan)


def test_destroy_deletes_all_that_is_ours_and_nothing_else() -> None:
    foreign = replace(SERVER, id="id-6", name="x", owner="production")
    decision = decide_destroy("lab", {"east": (SERVER, ORPHAN, foreign)})
    assert isinstance(decision, Plan)
    assert [(a.name, a.do) for a in decision.actions] == [
        ("east-db-1", Do.DELETE),
        ("east-old-1", Do.DELETE),
    ]


def test_destroy_of_named_servers() -> None:
    decision = decide_destroy("lab", {"east": (SERVER, ORPHAN)}, names=["east-old-1"])
    assert isinstance(decision, Plan)
    assert [a.name for a in decision.actions] == ["east-old-1"]


def test_destroy_of_what_is_not_ours_refuses() -> None:
    foreign = replace(SERVER, id="id-6", name="x", owner="production")
    decision = decide_destroy("lab", {"east": (SERVER, foreign)}, names=["x", "nothing", "east-db-1"])
    assert decision == Refusal(
        ("there is no server nothing", "east: server x belongs to environment 'production'")
    )
