"""Both sites serve one application, on machines: what is done at one is seen at both, and one schedules."""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from clients import asking
from stack import API, Buyer, Stack, joined, opened

from dcctl.domain.leadership import Term
from dcctl.lab import operator
from dcctl.lab.process import run

pytestmark = pytest.mark.lab

EAST, WEST = "198.18.1.21", "198.18.2.21"
OPENS, CLOSES = timedelta(seconds=3), timedelta(seconds=40)
PATIENCE_S = 120.0
"""For what takes seconds on a machine that has nothing else to do."""
UNIT = "procurement-auction"


@pytest.fixture(scope="module")
def stack(whole_stack: Path) -> Iterator[Stack]:
    with joined("dcctl-operator"), opened(whole_stack) as found:
        yield found


@dataclass(frozen=True)
class Sale:
    """A tender that was made through the east edge, its two bids, and who made them."""

    buyer: Buyer
    tender: str
    bids: tuple[str, ...]


@pytest.fixture(scope="module")
def sale(stack: Stack) -> Sale:
    """Made first of all: its auction begins when the other tests are done."""
    buyer = stack.buyer()
    tender = buyer.tender(EAST, opens=OPENS, closes=CLOSES)
    wait_for(lambda: buyer.done(WEST, "GET", f"{API}/{tender}")["status"] == "active.tendering")
    return Sale(buyer, tender, (buyer.bid(EAST, tender, 400), buyer.bid(WEST, tender, 300)))


def wait_for(true: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.5)


def on(machine: str, command: str) -> str:
    return run(operator.ssh(operator.find(machine), (command,))).strip()


def test_what_is_written_at_one_site_is_read_at_the_other(stack: Stack, sale: Sale) -> None:
    path = f"{API}/{sale.tender}"
    seen = [sale.buyer.done(edge, "GET", path) for edge in (EAST, WEST)]
    assert seen[0]["id"] == seen[1]["id"] == sale.tender
    assert seen[0]["dateModified"] == seen[1]["dateModified"]
    for bid, amount in zip(sale.bids, (400, 300), strict=True):
        for edge in (EAST, WEST):
            read = sale.buyer.done(edge, "GET", f"{path}/bids/{bid}?acc_token={sale.buyer.tokens[bid]}")
            assert read["value"]["amount"] == amount


def test_the_bytes_of_a_document_come_from_either_site(stack: Stack, sale: Sale) -> None:
    """At once, wherever they are; and from this site's own Swift when they were carried there."""
    record = sale.buyer.done(WEST, "GET", f"{API}/{sale.tender}/documents")[0]
    path = record["url"][record["url"].index("/get/") :]

    def download(edge: str) -> str:
        sent = sale.buyer.ask(edge, "GET", path)
        assert sent.status == 302, sent.content
        where: str = sent.headers["Location"]
        bytes_ = sale.buyer.ask(edge, "GET", where).content
        assert f"md5:{hashlib.md5(bytes_, usedforsecurity=False).hexdigest()}" == record["hash"]
        return where

    assert download(EAST).startswith(f"http://{EAST}:8000/v1/")
    download(WEST)
    wait_for(lambda: download(WEST).startswith(f"http://{WEST}:8000/v1/"))


def test_a_holder_that_is_frozen_is_followed_by_one(stack: Stack, sale: Sale) -> None:
    """Every process of its unit: when they run again the lease is another's, and the database knows it."""
    frozen = leading(stack)
    with stopped(frozen.host):
        wait_for(lambda: acts_after(stack, frozen))
    wait_for(lambda: acting(stack) == [leading(stack).host])
    assert leading(stack).host != frozen.host
    path = f"{API}/{sale.tender}"
    wait_for(lambda: sale.buyer.done(EAST, "GET", path)["status"] == "active.qualification")
    rounds = stack.query(
        "SELECT stage, epoch FROM auction_stage WHERE tender_id = %s ORDER BY started_at", sale.tender
    )
    assert [stage for stage, _epoch in rounds] == [1, 2, 3], "each round was started once"
    epochs = [epoch for _stage, epoch in rounds]
    assert epochs == sorted(epochs), "no round was started under an epoch that was over"
    assert set(epochs) <= {frozen.epoch.number, leading(stack).epoch.number}
    for edge in (EAST, WEST):
        auction = sale.buyer.done(edge, "GET", f"/auctions/{sale.tender}")[0]
        assert (auction["finished"], len(auction["rounds"])) == (True, 3)


def test_a_holder_that_is_killed_leaves_exactly_one(stack: Stack, sale: Sale) -> None:
    """dcctl itself: what it started does not outlive it, and systemd starts no second one beside it."""
    killed = leading(stack)
    on(killed.host, f"sudo systemctl kill --kill-who=main --signal=KILL {UNIT}")
    wait_for(lambda: acts_after(stack, killed))
    wait_for(lambda: acting(stack) == [leading(stack).host])


def test_the_holder_hands_over_when_asked(stack: Stack, sale: Sale) -> None:
    before = leading(stack)
    stack.dcctl("leader", "resign", "auction")
    wait_for(lambda: acts_after(stack, before))
    assert leading(stack).host != before.host, "the one that waited has it next"
    wait_for(lambda: acting(stack) == [leading(stack).host])


def leading(stack: Stack) -> Term:
    term = stack.leader()
    assert term is not None, "nobody leads"
    return term


def acts_after(stack: Stack, before: Term) -> bool:
    """Whether another term has begun, and its epoch is the one that the database accepts."""
    now = stack.leader()
    in_force = stack.query("SELECT epoch FROM role_epoch WHERE role = 'auction'")[0][0]
    return now is not None and now.epoch.number > before.epoch.number and in_force == now.epoch.number


def test_a_site_leaves_traffic_and_comes_back_without_an_error(stack: Stack) -> None:
    with asking(stack, (EAST, WEST)) as clients:
        wait_for(lambda: {each.served_by for each in clients.asked} == {"east-app-1", "west-app-1"})
        stack.dcctl("drain", "east", "--yes", "--reason", "a new kernel")
        drained_s = time.monotonic()
        wait_for(lambda: clients.served_since(drained_s, EAST) and clients.served_since(drained_s, WEST))
        assert clients.served_since(drained_s, EAST) == {"west-app-1"}
        health = {edge: clients.buyer.ask(edge, "GET", "/healthz").status for edge in (EAST, WEST)}
        assert health == {EAST: 503, WEST: 200}, "clients and DNS are told to leave"
        stack.dcctl("drain", "west", "--yes", expect=5)
        again = json.loads(stack.dcctl("drain", "east", "-o", "json"))
        assert not again["change"], "it asks nobody and writes nothing"
        stack.dcctl("undrain", "east", "--yes")
        back_s = time.monotonic()
        wait_for(lambda: "east-app-1" in clients.served_since(back_s, EAST))
        assert clients.served_since(drained_s, WEST) == {"west-app-1"}
        assert clients.errors() == []


@contextlib.contextmanager
def stopped(machine: str) -> Iterator[None]:
    on(machine, f"sudo systemctl kill --kill-who=all --signal=STOP {UNIT}")
    try:
        yield
    finally:
        on(machine, f"sudo systemctl kill --kill-who=all --signal=CONT {UNIT}")


def acting(stack: Stack) -> list[str]:
    """The machines on which a scheduler runs."""
    find = "pgrep --full --exact --count '[^ ]*/python[^ ]* [^ ]*/procurement serve auction' || true"
    return [name for name in ("east-app-1", "west-app-1") if on(name, find) != "0"]


def test_documents_are_kept_and_carried_and_a_second_deploy_changes_nothing(stack: Stack) -> None:
    """The checks put a document at each site, read it back by its hash, and see it at the other."""
    deployed = json.loads(stack.dcctl("deploy", "swift", "replication", "agent", "--together", "-o", "json"))
    assert deployed["changed"] == 0, deployed["changes"]
    checked = {(each["machine"], each["role"]) for each in deployed["findings"] if each["passed"]}
    apps = ("east-app-1", "west-app-1")
    assert checked >= {(machine, role) for machine in apps for role in ("swift", "replication")}
    containers = json.loads(stack.dcctl("replication", "init", "-o", "json"))["containers"]
    assert [each for each in containers if each["changed"]] == []


def test_a_machine_keeps_the_artifacts_that_it_runs_and_the_keys_to_itself(stack: Stack) -> None:
    made = json.loads(stack.dcctl("inventory", "--list"))["all"]["vars"]["dcctl_artifacts"]
    current = on("east-app-1", "readlink /opt/dcctl/*/current").split()
    assert current == [made[name]["digest"] for name in ("dcctl", "procurement", "swift")]
    said = on("east-app-1", "cat /etc/swift/proxy-server.conf /etc/dcctl/secrets/outbox 2>&1 || true")
    assert said.count("ermission denied") == 2
