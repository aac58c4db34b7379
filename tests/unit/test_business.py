"""The application's checkers: silent about a system that keeps its word; broken ones are seen through."""

import json
from dataclasses import replace

import pytest
from business_histories import (
    ACTIVE,
    BEGAN_S,
    BYTES,
    DRAFT,
    MD5,
    NOTICE,
    REGISTERED,
    changed,
    clean,
    request,
    stored,
    with_line,
)

from dcctl.domain.business import (
    Act,
    BusinessHistory,
    Copy,
    Ended,
    Fact,
    Inventory,
    Kind,
    Look,
    Response,
    bid_facts,
    decide_outcome,
    from_fields,
    tender_facts,
    to_fields,
)
from dcctl.domain.business_check import (
    BusinessFindings,
    check_acting,
    check_business,
    decide_courses,
)
from dcctl.domain.business_report import decide_business_report
from dcctl.domain.history import Phase

CLEAN = BusinessFindings(inventory=True)


def against(history: BusinessHistory) -> set[str]:
    """The checks of the report that did not hold."""
    report = decide_business_report(history, recovery_limit_s=60, sustained_s=1)
    return {check.name for check in report.checks if not check.held}


def test_a_system_that_keeps_its_word_is_clean() -> None:
    assert check_business(clean()) == CLEAN
    assert against(clean()) == set()


@pytest.mark.parametrize(
    ("answer", "change", "read"),
    [
        (Response(sent=False), "fail", "fail"),
        (Response(sent=True, status=200), "ok", "ok"),
        (Response(sent=True, status=201), "ok", "ok"),
        (Response(sent=True, status=403), "fail", "fail"),
        (Response(sent=True, status=422), "fail", "fail"),
        (Response(sent=True, status=408), "unknown", "fail"),
        (Response(sent=True, status=503, said="not-applied"), "fail", "fail"),
        (Response(sent=True, status=503, said="unknown"), "unknown", "fail"),
        (Response(sent=True, status=503), "unknown", "fail"),
        (Response(sent=True, status=500, said="unknown"), "unknown", "fail"),
        (Response(sent=True, status=502), "unknown", "fail"),
        (Response(sent=True, status=504), "unknown", "fail"),
        (Response(sent=True, status=302), "unknown", "fail"),
        (Response(sent=True), "unknown", "fail"),
    ],
)
def test_what_an_answer_means(answer: Response, change: str, read: str) -> None:
    assert decide_outcome(answer, changes=True) == change
    assert decide_outcome(answer, changes=False) == read


def test_a_tender_that_went_back_to_draft_is_lost_and_vanished() -> None:
    found = check_business(stored(clean(), DRAFT, NOTICE, BYTES, REGISTERED))
    assert (found.lost, found.vanished) == (("tender/t",), ("tender/t",))


def test_an_older_state_of_the_same_status_is_lost() -> None:
    older = replace(ACTIVE, rank=(1, 2.9))
    assert check_business(stored(clean(), older, NOTICE, BYTES, REGISTERED)).lost == ("tender/t",)


@pytest.mark.parametrize("gone", [ACTIVE, NOTICE, BYTES, REGISTERED])
def test_whatever_was_acknowledged_and_is_not_there_is_lost_by_name(gone: Fact) -> None:
    kept = [fact for fact in (ACTIVE, NOTICE, BYTES, REGISTERED) if fact is not gone]
    found = check_business(stored(clean(), *kept))
    assert found.lost == (gone.key,)
    assert "acknowledged tenders, bids and documents lost" in against(stored(clean(), *kept))


def test_another_hash_is_lost_and_altered() -> None:
    other = replace(NOTICE, holds="md5:" + "1" * 32)
    found = check_business(stored(clean(), ACTIVE, other, BYTES, REGISTERED))
    assert NOTICE.key in found.lost
    assert found.altered == (NOTICE.key,)


def test_a_read_that_only_one_saw_and_then_nobody_has_vanished() -> None:
    seen = Fact("tender/u", rank=(0, 1.0))
    history = with_line(clean(), *request(20, Kind.READ, 4.0, seen, subject="tender/u"))
    found = check_business(history)
    assert (found.vanished, found.lost) == (("tender/u",), ())


def test_a_read_that_misses_what_was_acknowledged_before_is_stale() -> None:
    missing = with_line(clean(), *request(20, Kind.READ, 4.0, subject="tender/t"))
    assert check_business(missing).stale == (ACTIVE.key, NOTICE.key)
    older = with_line(clean(), *request(20, Kind.READ, 4.0, DRAFT, NOTICE, subject="tender/t"))
    assert check_business(older).stale == (ACTIVE.key,)


def test_a_read_that_began_before_the_acknowledgement_may_miss_it() -> None:
    early = with_line(clean(), *request(20, Kind.READ, 0.9, subject="tender/t"))
    assert check_business(early).stale == ()


def test_what_nobody_asked_for_is_a_phantom_and_what_was_refused_must_not_be_there() -> None:
    there = Fact("tender/x", rank=(0, 1.0), marker="drill run tender 9")
    history = stored(clean(), ACTIVE, NOTICE, BYTES, REGISTERED, there)
    assert check_business(history).phantom == ("tender/x",)
    for outcome in (Phase.FAIL, Phase.UNKNOWN):
        asked = with_line(history, *request(20, Kind.TENDER, 4.0, outcome=outcome, marker=there.marker))
        found = check_business(asked)
        assert found.phantom == ()
        assert found.failed_yet_present == (("tender/x",) if outcome is Phase.FAIL else ())


def test_without_a_record_nothing_is_proven() -> None:
    history = changed(clean(), lambda line: replace(line, ok=False) if isinstance(line, Inventory) else line)
    assert check_business(history) == BusinessFindings(inventory=False)
    assert "acknowledged tenders, bids and documents lost" in against(history)


def test_a_round_by_an_older_epoch_after_a_newer_one_began_is_two_acting() -> None:
    late = with_line(clean(), Act("t", 3, 1, BEGAN_S + 24.5, 0.1, missed=False))
    assert check_acting(late).overlapped == ("tender t round 3 by epoch 1, after epoch 2 had begun",)
    after = with_line(clean(), Act("t", 3, 1, BEGAN_S + 28, 0.1, missed=False))
    assert len(check_acting(after).overlapped) == 2
    assert "one acting auction scheduler at any time, by the store's record" in against(late)


def test_an_epoch_that_falls_or_has_two_holders_is_told() -> None:
    fell = with_line(clean(), Look(26.0, 1, "east", BEGAN_S - 60))
    assert check_acting(fell).fell == ("epoch 2 of west, then epoch 1 of east",)
    two = with_line(clean(), Look(26.0, 2, "east", BEGAN_S + 24))
    assert check_acting(two).fell == ("epoch 2 of west, then epoch 2 of east",)


def test_a_scheduler_that_stands_still_is_told() -> None:
    idle = changed(clean(), lambda line: None if isinstance(line, Act) and line.epoch == 2 else line)
    assert against(idle) == {"auctions went on while the site was dark"}
    never = changed(clean(), lambda line: None if isinstance(line, Look) else line)
    assert "one acting auction scheduler at any time, by the store's record" in against(never)
    missed = with_line(clean(), Act("t", 3, 2, BEGAN_S + 28, 121.0, missed=True))
    assert against(missed) == {"auction rounds missed (more than 120 s late)"}


def test_a_document_at_risk_is_named_with_its_arrival() -> None:
    (course,) = decide_courses(clean())
    assert (course.name, course.at_risk, course.arrived) == ("d", True, {"west": 44.0, "east": 44.1})
    there = changed(
        clean(), lambda line: replace(line, md5=MD5) if isinstance(line, Copy) and line.at_s == 20 else line
    )
    assert not decide_courses(there)[0].at_risk


@pytest.mark.parametrize("site", ["east", "west"])
def test_bytes_that_never_arrive_or_are_others_do_not_hold(site: str) -> None:
    name = "acknowledged documents not at both sites in the end, with their md5"
    never = changed(clean(), lambda line: None if isinstance(line, Copy) and line.site == site else line)
    assert name in against(never)
    other = with_line(clean(), Copy(45.0, site, "d", "1" * 32))
    assert against(other) == {name}


def test_a_survivor_that_was_never_asked_leaves_the_risk_unknown() -> None:
    unasked = changed(clean(), lambda line: None if isinstance(line, Copy) and line.at_s == 20 else line)
    assert against(unasked) == {"documents at risk while the site was dark"}


def test_a_site_whose_own_servers_do_not_answer_does_not_serve() -> None:
    foreign = changed(
        clean(),
        lambda line: (
            replace(line, by="west-app-1") if isinstance(line, Ended) and line.by == "east-app-1" else line
        ),
    )
    report = decide_business_report(foreign, recovery_limit_s=60, sustained_s=1)
    (check,) = (each for each in report.checks if not each.held)
    assert check.measured == "east-edge-1 before by west-app-1; east-edge-1 after by west-app-1"


def test_a_recovery_that_only_the_healing_brought_does_not_count() -> None:
    history = changed(clean(), lambda line: None if getattr(line, "op", 0) in (6, 9) else line)
    report = decide_business_report(history, recovery_limit_s=60, sustained_s=1)
    assert "the application's recovery time" in {each.name for each in report.checks if not each.held}


def test_every_line_reads_back_as_itself() -> None:
    for line in clean().lines:
        assert from_fields(json.loads(json.dumps(to_fields(line)))) == line


def test_what_the_api_shows_becomes_facts() -> None:
    document = {"id": "d", "hash": "md5:1", "title": "notice", "dateModified": "2026-01-01T02:00:00+02:00"}
    tender = {
        "id": "t",
        "status": "active.tendering",
        "title": "drill",
        "dateModified": "2026-01-01T00:00:01+00:00",
        "documents": [document],
    }
    body, attached = tender_facts(tender)
    assert (body.key, body.rank, body.marker) == ("tender/t", (2, 1767225601.0), "drill")
    assert (attached.key, attached.holds) == ("tender/t/document/d", "md5:1")
    assert attached.rank == (0, 1767225600.0)
    bid = {"id": "b", "status": "pending", "date": "2026-01-01T00:00:00Z", "tenderers": [{"name": "n"}]}
    assert bid_facts("t", bid)[0] == Fact("bid/t/b", rank=(1, 1767225600.0), marker="n")
