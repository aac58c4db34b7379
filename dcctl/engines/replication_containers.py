"""Carrying containers themselves between two accounts, with their owners' tokens. May be repeated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dcctl.domain.replication import Side
from dcctl.domain.replication_account import DEFAULT, qualified
from dcctl.domain.replication_containers import (
    BOTH,
    GOING,
    Decided,
    Need,
    RemovalCap,
    Seen,
    decide_containers,
)
from dcctl.ports import Account

CHANGED = (Need.JOIN, Need.MAKE, Need.REVIVE, Need.REMOVE)
NOTICED = (*CHANGED, Need.WAIT)


@dataclass
class Carried:
    """What became of containers. ``names`` are on both sides now, to be replicated; one side has removed
    those that are ``going``."""

    names: tuple[str, ...] = ()
    going: frozenset[str] = frozenset()
    done: list[Decided] = field(default_factory=list)
    held: tuple[str, ...] = ()

    def of(self, account: str) -> "Carried":
        """The same by the qualified names of containers of ``account``."""
        return Carried(
            tuple(qualified(account, name) for name in self.names),
            frozenset(qualified(account, name) for name in self.going),
            [replace(one, name=qualified(account, one.name)) for one in self.done],
            self.held if account == DEFAULT else tuple(f"account {account}: {why}" for why in self.held),
        )

    def and_also(self, other: "Carried") -> "Carried":
        """What became of both."""
        return Carried(
            (*self.names, *other.names),
            self.going | other.going,
            [*self.done, *other.done],
            (*self.held, *other.held),
        )

    def document(self, sites: Mapping[Side, str]) -> dict[str, Any]:
        """As JSON values."""
        return {
            "containers": list(self.names),
            "changes": [
                {
                    "container": one.name,
                    "outcome": one.need.value,
                    "site": sites[one.side] if one.side is not None else None,
                }
                for one in self.done
            ],
            "held": list(self.held),
        }


def carry_containers(
    accounts: Mapping[Side, Account],
    prefixes: Sequence[str],
    key: str,
    *,
    cap: RemovalCap,
    apart: Sequence[str] = (),
    accept_empty: bool = False,
    dry_run: bool = False,
    begun: list[str] | None = None,
) -> Carried:
    """Look at every container that begins with one of ``prefixes`` and is not ``apart``, on both sides.

    ``begun`` is told the names of those of which something is changed, before it is.
    """
    found = {side: _seen(account, prefixes, apart) for side, account in accounts.items()}
    decided, held = decide_containers(found[Side.A], found[Side.B], cap=cap, accept_empty=accept_empty)
    carried = Carried(held=held)
    names = []
    for one in decided:
        if begun is not None and not dry_run and one.need in CHANGED:
            begun.append(one.name)
        outcome = one if dry_run else _carry(accounts, one, key)
        if outcome.need in NOTICED:
            carried.done.append(outcome)
        on_both = one.name in found[Side.A] and one.name in found[Side.B]
        if (not dry_run or on_both) and outcome.need is not Need.REMOVE:
            names.append(one.name)
    carried.names = tuple(names)
    carried.going = frozenset(one.name for one in carried.done if one.need in (Need.REVIVE, Need.WAIT))
    return carried


def _seen(account: Account, prefixes: Sequence[str], apart: Sequence[str]) -> dict[str, Seen]:
    names = {name for prefix in prefixes for name in account.containers(prefix)} - set(apart)
    found = {}
    for name in names:
        facts = account.observe_container(name)
        if facts is not None:
            found[name] = Seen(facts.mark, facts.objects)
    return found


def _carry(accounts: Mapping[Side, Account], one: Decided, key: str) -> Decided:
    """The mark goes to the older side last: killed in between, the next look sees what was to be done."""
    match one.need:
        case Need.JOIN:
            for account in accounts.values():
                account.ensure_container(one.name, key, mark=BOTH)
        case Need.MAKE | Need.REVIVE:
            assert one.side is not None  # noqa: S101  # by its decision
            mark = BOTH if one.need is Need.MAKE else GOING
            source = accounts[one.side.other].observe_container(one.name)
            if source is None:
                return Decided(one.name, Need.NOTHING)  # gone again
            if one.need is Need.REVIVE:
                accounts[one.side.other].ensure_container(one.name, key, mark=GOING)
            accounts[one.side].ensure_container(one.name, key, mark=mark)
            accounts[one.side].ensure_settings(one.name, source.settings)
            accounts[one.side.other].ensure_container(one.name, key, mark=mark)
        case Need.REMOVE:
            sides = (one.side,) if one.side is not None else tuple(Side)
            if not all(accounts[side].remove_container(one.name) for side in sides):
                return Decided(one.name, Need.WAIT, one.side)
        case _:
            pass
    return one
