"""What `dcctl provision` prints, asks and refuses, over two clouds in memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dcctl.adapters.host_keys import generate_host_key
from dcctl.adapters.journal import FileJournal, read_run, runs, start_run
from dcctl.adapters.state import KnownHostsFile, Observations
from dcctl.cli.provision import Stage, choose_sites, do_apply, do_destroy, do_plan
from dcctl.cli.session import Session
from dcctl.config.load import load_file
from dcctl.domain.known_hosts import KnownHost
from dcctl.domain.machine import ServerSpec, Size
from dcctl.engines.provision import Means, Operator
from dcctl.errors import DriftFound, Refused, StepFailed, Unreachable, UsageError
from dcctl.testing.clock import VirtualClock
from dcctl.testing.machines import FakeCloud, FakeMachines
from dcctl.testing.remote import FakeRemote

GIB = 2**30
WITNESS = KnownHost("witness-1", "203.0.113.10", 22, "ssh-ed25519 AAAAwitness")


def spec(site: str, number: int) -> ServerSpec:
    net = {"east": "192.0.2", "west": "198.51.100"}[site]
    return ServerSpec(
        name=f"{site}-db-{number}",
        environment="lab",
        site=site,
        group="db",
        roles=("base",),
        size=Size(1, GIB, 4 * GIB),
        flavour="small",
        image="debian-12",
        network="dcctl",
        address=f"{net}.{20 + number}",
    )


class Bench:
    """Two clouds, a state directory, and the commands over them."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.clouds = {site: FakeCloud(site) for site in ("east", "west")}
        self.clock = VirtualClock()
        self.known_hosts = KnownHostsFile(state / "known_hosts")
        self.wanted = [spec(site, number) for site in ("east", "west") for number in (1, 2)]

    def stage(self, *sites: str) -> Stage:
        chosen = sites or tuple(self.clouds)
        clouds = tuple(self.clouds.values())
        return Stage(
            environment="lab",
            command="dcctl -e lab",
            wanted=self.wanted,
            witness=WITNESS,
            means=Means(
                machines={site: FakeMachines(self.clouds[site], "lab") for site in chosen},
                known_hosts=self.known_hosts,
                remote=lambda name: FakeRemote(name, clouds, self.known_hosts),
                make_host_key=generate_host_key,
                operator=Operator("dcctl", 22, ("ssh-ed25519 AAAA operator",)),
            ),
            observations=Observations(self.state / "observations"),
            run=self.run,
            clock=self.clock,
        )

    @contextmanager
    def run(self) -> Iterator[FileJournal]:
        with start_run(self.state, environment="lab", what="provision", now=self.clock.now) as journal:
            yield journal

    def plan(self, *sites: str, **options: Any) -> None:
        do_plan(text(), self.stage(*sites), **{"prune": False, "exit_code": False, **options})

    def apply(self, *sites: str, **options: Any) -> None:
        do_apply(text(), self.stage(*sites), **{"prune": False, "yes": True, **options})

    def destroy(self, *sites: str, **options: Any) -> None:
        given = {"names": (), "sites_chosen": bool(sites), "yes": True, **options}
        do_destroy(text(), self.stage(*sites), **given)


def text() -> Session:
    return Session("lab", "text")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_plan_reads_as_a_diff_and_changes_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.apply("east")
    bench.clouds["east"].put(spec("east", 3), owner="lab")
    bench.wanted = bench.wanted[1:]
    capsys.readouterr()
    bench.plan()
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines == [
        "east",
        "! east-db-1 orphan 192.0.2.21 ours, and not configured; --prune deletes it",
        "= east-db-2 keep 192.0.2.22",
        "! east-db-3 orphan 192.0.2.23 ours, and not configured; --prune deletes it",
        "west",
        "+ west-db-1 create 198.51.100.21 1 vCPU, 1024 MiB, 4 GiB, debian-12",
        "+ west-db-2 create 198.51.100.22 1 vCPU, 1024 MiB, 4 GiB, debian-12",
        "plan: 2 to create, 1 as configured, 2 not configured",
    ]
    assert bench.clouds["west"].calls == []


def test_a_plan_as_json_is_one_document(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    do_plan(Session("lab", "json"), bench.stage(), prune=False, exit_code=False)
    document = json.loads(capsys.readouterr().out)
    assert (document["environment"], document["changes"], document["drift"]) == ("lab", 4, 0)
    assert document["actions"][0] == {
        "site": "east",
        "name": "east-db-1",
        "do": "create",
        "changes": True,
        "address": "192.0.2.21",
        "differences": [],
    }


def test_exit_code_tells_whether_anything_is_not_as_configured(bench: Bench) -> None:
    with pytest.raises(DriftFound, match="4 to create") as caught:
        bench.plan(exit_code=True)
    assert caught.value.next_command == "dcctl -e lab provision apply"
    bench.apply()
    bench.plan(exit_code=True)
    bench.clouds["east"].put(spec("east", 3), owner="lab")
    with pytest.raises(DriftFound):
        bench.plan(exit_code=True)


def test_apply_says_what_it_did_and_the_next_one_that_nothing_was_left(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.apply()
    run = runs(bench.state)[-1]
    done = f"done: 4 created; machines answer as themselves (run {run})"
    assert capsys.readouterr().out.splitlines()[-1] == done
    bench.apply()
    assert "nothing to do: 4 as configured; machines answer" in capsys.readouterr().out.splitlines()[-1]
    started, *_rest = read_run(bench.state, run)
    assert started.fields["plan"] == [
        "create east-db-1",
        "create east-db-2",
        "create west-db-1",
        "create west-db-2",
    ]


def test_apply_trusts_the_machines_and_the_witness_and_no_secret_stays(bench: Bench) -> None:
    bench.apply()
    assert {host.name for host in bench.known_hosts.observe()} == {
        "east-db-1",
        "east-db-2",
        "west-db-1",
        "west-db-2",
        "witness-1",
    }
    for path in bench.state.rglob("*"):
        assert not path.is_file() or "PRIVATE" not in path.read_text()


def test_without_a_terminal_apply_and_destroy_want_yes(bench: Bench) -> None:
    with pytest.raises(Refused, match="no terminal to ask on") as caught:
        bench.apply(yes=False)
    assert caught.value.next_command == "dcctl -e lab provision apply --yes"
    assert bench.clouds["east"].calls == []
    bench.apply()
    with pytest.raises(Refused, match="no terminal to ask on") as caught:
        bench.destroy(yes=False, names=("east-db-1",))
    assert caught.value.next_command == "dcctl -e lab provision destroy east-db-1 --yes"
    assert len(bench.clouds["east"].servers) == 2
    bench.apply(yes=False)  # nothing to change, nothing to ask


def test_a_dark_site_ends_apply_before_anything_is_changed(bench: Bench) -> None:
    bench.apply("west")
    bench.clouds["west"].dark = True
    bench.clouds["east"].calls.clear()
    with pytest.raises(Unreachable) as caught:
        bench.apply()
    assert caught.value.exit_code == 4
    assert "west" in caught.value.on
    assert caught.value.__notes__ == [
        "west last answered at 2026-01-01 00:00:00 UTC and showed west-db-1, west-db-2"
    ]
    assert bench.clouds["east"].calls == []


def test_the_other_site_is_suggested_while_one_is_dark(bench: Bench) -> None:
    bench.clouds["east"].dark = True
    with pytest.raises(Unreachable) as caught:
        bench.plan()
    assert caught.value.next_command == "dcctl -e lab provision plan --site west"
    bench.plan("west")


def test_a_conflict_refuses_with_every_reason(bench: Bench) -> None:
    bench.clouds["east"].put(spec("east", 1), owner=None)
    bench.clouds["west"].put(spec("west", 2), owner="production")
    with pytest.raises(Refused) as caught:
        bench.apply()
    assert len(caught.value.reasons) == 2
    assert bench.clouds["east"].calls == []


def test_prune_deletes_orphans(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.apply()
    bench.wanted = bench.wanted[:3]
    bench.apply()
    assert "1 not configured" in capsys.readouterr().out.splitlines()[-1]
    bench.apply(prune=True)
    assert "1 deleted, 3 as configured" in capsys.readouterr().out.splitlines()[-1]
    assert len(bench.clouds["west"].servers) == 1


def test_a_failure_names_the_run_and_what_resumes_it(bench: Bench) -> None:
    bench.clouds["west"].fails["west-db-2"] = Unreachable("create the server", on="west: west-db-2")
    with pytest.raises(StepFailed) as caught:
        bench.apply()
    assert caught.value.run == runs(bench.state)[-1]
    bench.apply()
    assert len(bench.clouds["west"].servers) == 2


def test_destroy_deletes_ours_only_and_can_be_repeated(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.apply()
    foreign = bench.clouds["east"].put(spec("east", 9), owner=None)
    bench.destroy()
    assert "done: 4 deleted" in capsys.readouterr().out.splitlines()[-1]
    assert list(bench.clouds["east"].servers.values()) == [foreign]
    assert [host.name for host in bench.known_hosts.observe()] == ["witness-1"]
    bench.destroy()
    assert capsys.readouterr().out.splitlines()[-1] == "no server of ours"


def test_destroy_of_named_machines(bench: Bench) -> None:
    bench.apply()
    bench.destroy(names=("east-db-2",))
    assert [server.name for server in bench.clouds["east"].servers.values()] == ["east-db-1"]
    with pytest.raises(Refused, match="there is no server nothing"):
        bench.destroy(names=("nothing",))


def test_destroy_refuses_while_a_site_is_dark_unless_the_other_is_chosen(bench: Bench) -> None:
    bench.apply()
    bench.clouds["west"].dark = True
    with pytest.raises(Refused, match="west cannot be asked what it runs") as caught:
        bench.destroy()
    assert caught.value.next_command == "dcctl -e lab provision destroy --site east"
    assert len(bench.clouds["east"].servers) == 2
    bench.destroy("east")
    assert not bench.clouds["east"].servers
    with pytest.raises(Unreachable):
        bench.destroy("west")


def test_an_unknown_site_is_a_usage_error(tmp_path: Path) -> None:
    configuration = load_file(Path(__file__).parents[2] / "inventories" / "lab" / "dcctl.yaml")
    assert choose_sites(configuration, ()) == ("east", "west")
    assert choose_sites(configuration, ("west",)) == ("west",)
    with pytest.raises(UsageError, match=r"the sites are east, west; did you mean west\?"):
        choose_sites(configuration, ("wst",))
