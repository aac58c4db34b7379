"""What a site is: one row per row of the table in ``dcctl.domain.verdict``, and what flapping does."""

from dataclasses import dataclass, replace

import pytest
from situations import vantage

from dcctl.domain.verdict import (
    LOOKS_NEEDED,
    LOOKS_OF_A_FLAPPING_SITE,
    STEADY_S,
    Evidence,
    Settled,
    Sight,
    Vantage,
    Verdict,
    decide_settled,
    decide_verdict,
    why_not_settled,
)

UP, DOWN, BLIND = {"east": Sight.UP}, {"east": Sight.DOWN}, {"east": Sight.UNKNOWN}
OWN_AGENT = vantage("east-edge-1", UP)
SEEN = (OWN_AGENT, vantage("west-edge-1", UP), vantage("witness-1", UP))
LOST = (vantage("west-edge-1", DOWN), vantage("witness-1", DOWN))
WELL = Evidence("east", "operator", Sight.UP, SEEN, answers=("east-db-1",), voters=("east-db-1",))
DARK = Evidence("east", "operator", Sight.DOWN, LOST)


@dataclass(frozen=True)
class Row:
    """What is seen of east, and what it is then; ``said``: words of a reason; ``lost``: may be given up."""

    name: str
    evidence: Evidence
    verdict: Verdict
    said: str = ""
    lost: bool = False


def seen_by(*vantages: Vantage, **more: object) -> Evidence:
    return replace(DARK, vantages=vantages, **more)  # type: ignore[arg-type]


TABLE = (
    Row("we see it, the others too, it is with the quorum", WELL, Verdict.UP),
    Row(
        "one of the others does not see it",
        replace(WELL, vantages=(OWN_AGENT, vantage("west-edge-1", DOWN), SEEN[2])),
        Verdict.DEGRADED,
        "west-edge-1 does not see it",
    ),
    Row(
        "a part of it is not well",
        replace(WELL, troubles=("east-app-1 does not answer here",)),
        Verdict.DEGRADED,
        "east-app-1",
    ),
    Row(
        "we see it, and the ensemble has lost it",
        replace(WELL, vantages=SEEN[1:], voters=()),
        Verdict.ISOLATED,
        "neither a voter nor an agent",
    ),
    Row(
        "only another sees it, and it is with the quorum",
        replace(WELL, own=Sight.DOWN, answers=()),
        Verdict.UNREACHABLE_FROM_ME,
        "west-edge-1 sees it",
    ),
    Row(
        "we did not look, another sees it",
        replace(WELL, own=Sight.UNKNOWN, answers=()),
        Verdict.UNREACHABLE_FROM_ME,
        "witness-1 sees it",
    ),
    Row(
        "only another sees it, and the ensemble has lost it",
        seen_by(vantage("west-edge-1", UP), vantage("witness-1", DOWN)),
        Verdict.ISOLATED,
        "west-edge-1 sees it",
    ),
    Row(
        "nobody sees it, and its agent speaks to the quorum",
        seen_by(OWN_AGENT, *LOST),
        Verdict.UNREACHABLE_FROM_ME,
        "reached the quorum from there 1 s ago",
    ),
    Row(
        "nobody sees it, and its voter is in the quorum",
        seen_by(*LOST, voters=("east-db-1",)),
        Verdict.UNREACHABLE_FROM_ME,
        "voter east-db-1 is in the quorum",
    ),
    Row(
        "two places see it down, the witness among them", DARK, Verdict.DOWN, "witness-1 does not", lost=True
    ),
    Row(
        "its own agent spoke, but not just now",
        seen_by(vantage("east-edge-1", UP, age_s=3.0), *LOST),
        Verdict.DOWN,
        lost=True,
    ),
    Row(
        "seen from the witness itself: our place and the survivor's",
        replace(DARK, place="witness"),
        Verdict.DOWN,
        lost=True,
    ),
    Row(
        "seen from the witness alone, twice: one place",
        seen_by(vantage("witness-1", DOWN), place="witness"),
        Verdict.UNKNOWN,
        "1 of 2 vantages",
    ),
    Row(
        "nobody sees it, and its cloud says that it runs",
        replace(DARK, runs=True),
        Verdict.ISOLATED,
        "its machines run",
        lost=True,
    ),
    Row(
        "the witness did not look",
        seen_by(vantage("west-edge-1", DOWN)),
        Verdict.UNKNOWN,
        "the witness has not seen east down; it has published no observation",
    ),
    Row(
        "the witness looked long ago: a stale vantage is not down",
        seen_by(LOST[0], vantage("witness-1", DOWN, age_s=16.0)),
        Verdict.UNKNOWN,
        "it looked 16 s ago, which says nothing",
    ),
    Row(
        "the witness's clock is ahead",
        seen_by(LOST[0], vantage("witness-1", DOWN, age_s=-16.0)),
        Verdict.UNKNOWN,
        "which says nothing",
    ),
    Row(
        "the witness's probes died: neither up nor down",
        seen_by(LOST[0], vantage("witness-1", BLIND)),
        Verdict.UNKNOWN,
        "the witness has not seen east down",
    ),
    Row(
        "everybody's probes died: that is not health",
        replace(WELL, own=Sight.UNKNOWN, answers=(), vantages=(), voters=()),
        Verdict.UNKNOWN,
        "0 of 2 vantages",
    ),
    Row("there is no witness", replace(DARK, witness=False), Verdict.UNKNOWN, "no witness is configured"),
    Row("there is no quorum here", replace(DARK, quorum=False), Verdict.UNKNOWN, "no quorum answers here"),
    Row(
        "we see it, and there is no quorum here",
        replace(WELL, quorum=False),
        Verdict.UNKNOWN,
        "no quorum answers here",
    ),
    Row(
        "there is no quorum at our own site",
        replace(WELL, quorum=False, place="east"),
        Verdict.ISOLATED,
        "no quorum answers at this site",
    ),
)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    found = decide_verdict(row.evidence)
    assert found.verdict is row.verdict, found
    assert row.said in found.sentence()
    assert found.lost is row.lost


def test_every_verdict_has_a_row() -> None:
    assert {row.verdict for row in TABLE} == set(Verdict)


def test_only_a_site_of_which_nobody_saw_anything_is_lost() -> None:
    """The invariant, over every combination of what three vantages and the ensemble can say."""
    sights, ages = (UP, DOWN, BLIND), (1.0, 16.0)
    for own in Sight:
        for west in (vantage("west-edge-1", each, age_s=age) for each in sights for age in ages):
            for witness in (vantage("witness-1", each, age_s=age) for each in sights for age in ages):
                for voters in ((), ("east-db-1",)):
                    found = decide_verdict(replace(DARK, own=own, vantages=(west, witness), voters=voters))
                    seen = Sight.UP in (own, west.sees("east"), witness.sees("east")) or voters
                    others = [west.sees("east"), own]
                    enough = witness.sees("east") is Sight.DOWN and Sight.DOWN in others
                    assert found.lost is (not seen and enough), found
                    assert found.verdict is not Verdict.UP or own is Sight.UP


def looks(*seen: tuple[float, Evidence]) -> Settled:
    settled: Settled | None = None
    for at_s, evidence in seen:
        settled = decide_settled(settled, decide_verdict(evidence), at_s)
    assert settled is not None
    return settled


def test_nobody_who_looked_is_no_verdict() -> None:
    assert why_not_settled(None)
    assert why_not_settled(looks(*((at_s, DARK) for at_s in range(LOOKS_NEEDED)))) == ()


def test_a_site_that_went_and_came_is_watched_for_longer() -> None:
    flapping = [(0.0, WELL), (1.0, DARK), (2.0, WELL), (3.0, DARK), (4.0, DARK)]
    assert "changed 3 times" in why_not_settled(looks(*flapping))[0]
    dark = [(4.0 + n, DARK) for n in range(1, LOOKS_OF_A_FLAPPING_SITE - 1)]
    assert why_not_settled(looks(*flapping, *dark)) == ()


def test_what_it_did_long_ago_counts_no_more() -> None:
    later = 3 + STEADY_S
    assert why_not_settled(looks((0, WELL), (1, DARK), (2, WELL), (later, DARK))) == ()
