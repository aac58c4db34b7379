"""What an agent shows over HTTP."""

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import requests

from dcctl.adapters.agent_page import AgentPage
from dcctl.domain.agent import AgentReport, AgentView, LoopView
from dcctl.domain.leadership import Epoch
from dcctl.domain.probe import Health, ProbeResult
from dcctl.domain.traffic import EdgeApplied, Rotation, SiteState
from dcctl.errors import Unreachable

RESULT = ProbeResult(
    name="west-app-1/cdb",
    target="west-app-1",
    kind="http",
    site="west",
    ok=False,
    saw="503",
    took_s=0.004,
    at=datetime(2026, 1, 2, tzinfo=UTC),
    health=Health.DOWN,
)
REPORT = AgentReport(
    vantage="east-edge-1",
    place="east",
    view=AgentView(lease_age_s=0.25, session_s=10.0, steered_age_s=0.1, watched_age_s=1.0),
    loops={"steer": LoopView(7, 0.001), "watch": LoopView(2, 0.0)},
    states=(SiteState("east", Rotation.DRAINED), SiteState("west")),
    applied=EdgeApplied({"east": False, "west": None}),
    results=(RESULT,),
    epochs={"auction": Epoch(1, 7)},
)


def get(page: AgentPage, path: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{page.port}{path}", timeout=10)


def test_health_and_metrics() -> None:
    with closing(AgentPage(lambda: REPORT, address="127.0.0.1", port=0)) as page:
        health = get(page, "/healthz")
        assert (health.status_code, health.json()["ok"], health.json()["lease_age_s"]) == (200, True, 0.25)
        assert health.json()["sites"] == {"east": "drained", "west": "active"}
        assert health.json()["epochs"] == {"auction": 1000000007}
        text = get(page, "/metrics").text
        assert get(page, "/else").status_code == 404
    for line in (
        "dcctl_agent_healthy 1.0",
        "dcctl_agent_lease_age_seconds 0.25",
        'dcctl_agent_rounds_total{loop="steer"} 7.0',
        'dcctl_site_state{site="east",state="drained"} 1.0',
        'dcctl_site_state{site="east",state="active"} 0.0',
        'dcctl_site_in_rotation{site="east"} 0.0',
        'dcctl_role_epoch{role="auction"} 1.000000007e+09',
        'dcctl_probe_success{kind="http",probe="west-app-1/cdb",site="west",target="west-app-1"} 0.0',
    ):
        assert line in text
    assert 'dcctl_site_in_rotation{site="west"}' not in text, "unknown is no number"


def test_an_agent_that_is_cut_off_answers_503_and_says_why() -> None:
    cut_off = replace(REPORT, view=replace(REPORT.view, lease_age_s=31.0))
    with closing(AgentPage(lambda: cut_off, address="127.0.0.1", port=0)) as page:
        health = get(page, "/healthz")
    assert health.status_code == 503
    assert "last answered 31.0 s ago" in json.loads(health.text)["reasons"][0]


def test_a_port_that_is_taken_is_told() -> None:
    with (
        closing(AgentPage(lambda: REPORT, address="127.0.0.1", port=0)) as page,
        pytest.raises(Unreachable, match="Address already in use"),
    ):
        AgentPage(lambda: REPORT, address="127.0.0.1", port=page.port)
