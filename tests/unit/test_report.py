"""The report: what the page and the document say, that they need nothing else, that they can be remade."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_drill_engine import DRILL, Bench, interrupt_after

from dcctl import resources
from dcctl.adapters.history import HistoryFile, read_history
from dcctl.adapters.journal import FileJournal
from dcctl.adapters.report import document, draw, render, write_report
from dcctl.cli.main import run as dcctl
from dcctl.domain.availability import Gap
from dcctl.domain.check import Verdict
from dcctl.domain.history import History, Mark, Record
from dcctl.domain.report import Report, decide_report
from dcctl.errors import Interrupted, NotFound, Unreachable


def held() -> Report:
    bench = Bench()
    bench.run()
    return bench.report()


def lossy() -> Report:
    bench = Bench()
    bench.system.loses_last_acknowledged = 7
    bench.run()
    return bench.report()


def interrupted() -> Report:
    bench = Bench()
    with pytest.raises(Interrupted):
        bench.run(interrupt_after(bench, "wait.started", "acknowledged again"))
    return bench.report()


def page_of(report: Report) -> str:
    return render(report, templates=resources.templates(), version="0")


def text_of(page: str) -> str:
    """What a reader sees, in one line."""

    class Text(HTMLParser):
        parts: list[str] = []  # noqa: RUF012

        def handle_data(self, data: str) -> None:
            self.parts.append(data)

    Text.parts = []
    Text().feed(re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    return " ".join(" ".join(Text.parts).split())


def test_the_page_of_a_drill_that_held() -> None:
    text = text_of(page_of(held()))
    assert "Held Every tolerance held. Site east , which held the primary east-db-1 , was cut off" in text
    assert "Writes were acknowledged again 19.8 s later, by west-db-1 ." in text
    assert "No acknowledged write was lost." in text
    assert "✗" not in text


def test_the_page_of_a_drill_that_lost_something_names_it_first_and_by_number() -> None:
    report = lossy()
    text = text_of(page_of(report))
    assert text.index("acknowledged writes lost: 7 rows (wanted: none)") < text.index("recovery time")
    assert ", ".join(map(str, report.findings.lost)) in text


def test_the_page_of_an_interrupted_drill_says_so() -> None:
    report = interrupted()
    assert report.verdict is Verdict.INTERRUPTED
    assert "Interrupted The drill did not run to its end." in text_of(page_of(report))


def test_the_page_of_a_run_that_ended_before_it_began() -> None:
    bench = Bench()
    assert "did not run to its end" in text_of(page_of(decide_report(bench.workload.stop(), ())))


def test_the_page_needs_nothing_but_itself() -> None:
    for report in (held(), lossy(), interrupted()):
        page = page_of(report)
        assert not re.findall(r"(?:src|href|@import|url\((?!#))", page)
        assert "<script" not in page
        assert "http" not in page


def test_the_page_can_be_read_without_seeing_the_picture_or_its_colours() -> None:
    page = page_of(lossy())
    assert 'lang="en"' in page
    assert 'role="img"' in page
    assert re.search(r"<desc[^>]*>Answers to writes per 0.5 s and edge. east-edge-1: \d+ acknowledged", page)
    assert page.count('scope="col"') > 10
    assert "url(#hatch)" in page


def test_what_stands_in_a_journal_cannot_break_out_of_the_page() -> None:
    evil = replace(held(), purpose="<script>alert(1)</script>", site='"><img src=x>')
    page = page_of(evil)
    assert "<script" not in page
    assert "<img" not in page


def test_thousands_of_lost_rows_do_not_fill_the_page() -> None:
    report = held()
    many = replace(report, findings=replace(report.findings, lost=tuple(range(9000))))
    assert "and 8,500 more" in text_of(page_of(many))
    assert len(document(many)["findings"]["lost"]) == 9000


def test_the_picture_shows_every_answer_and_lies_within_its_frame() -> None:
    report = lossy()
    picture = draw(report)
    assert [panel.edge for panel in picture.panels] == ["east-edge-1", "west-edge-1"]
    for panel, service in zip(picture.panels, report.measurement.edges, strict=True):
        assert panel.acknowledged.count("M") == sum(each.ok > 0 for each in service.buckets)
        assert panel.failed.count("M") == sum(each.failed > 0 for each in service.buckets)
        ys = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h", panel.acknowledged + panel.failed)]
        assert panel.top - 0.1 <= min(ys) <= max(ys) <= panel.bottom + 0.1
        xs = [float(x) for x in re.findall(r"M([\d.]+) ", panel.acknowledged + panel.failed)]
        assert picture.left <= min(xs) <= max(xs) <= picture.right
    assert [text for _x, _y, text, _anchor in picture.marks] == [
        "fault",
        "promotion",
        "healed",
        "steady again",
    ]
    assert "0" in [label for _x, label in picture.ticks]
    assert picture.outages


def test_marks_that_are_close_get_rows_of_their_own() -> None:
    report = held()
    close = tuple(replace(mark, at_s=10.0 + number / 10) for number, mark in enumerate(report.marks))
    rows = {y for _x, y, _text, _anchor in draw(replace(report, marks=close)).marks}
    assert len(rows) == len(report.marks)


def test_an_outage_to_the_very_end_is_drawn() -> None:
    report = held()
    end = Gap(30.0, report.measurement.writes_end_s)
    assert draw(replace(report, measurement=replace(report.measurement, outages=(end,)))).outages[0][1] > 0


def test_the_document_is_json_and_says_the_same(tmp_path: Path) -> None:
    report = lossy()
    page = write_report(tmp_path, report, templates=resources.templates(), version="0")
    assert page == tmp_path / "report.html"
    said = json.loads((tmp_path / "report.json").read_text())
    assert (said["verdict"], said["findings"]["lost"]) == ("deviated", list(report.findings.lost))
    assert said["recovery_s"] == pytest.approx(report.recovery_s)
    assert [check["held"] for check in said["checks"]] == [check.held for check in report.checks]
    assert {each.name for each in tmp_path.iterdir()} == {"report.html", "report.json"}


def test_a_disk_that_refuses_is_said_and_leaves_the_old_report(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="write the report"):
        write_report(tmp_path / "missing", held(), templates=resources.templates(), version="0")


def keep(path: Path, history: History) -> None:
    lines: list[Record | Mark] = [*history.records, *history.marks]
    with HistoryFile(path) as file:
        file.begin(replace(history, records=(), marks=()))
        for line in sorted(lines, key=lambda each: each.at_s):
            file.keep(line)


def test_a_history_on_disk_reads_back_as_itself_and_without_a_torn_line(tmp_path: Path) -> None:
    bench = Bench()
    history = bench.run()
    path = tmp_path / "history.jsonl"
    keep(path, history)
    again = read_history(path)
    assert decide_report(again, bench.journal.events()).checks == bench.report().checks
    path.write_bytes(path.read_bytes() + b'{"t":1.5,"op')
    assert read_history(path) == again


def test_a_history_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_history(tmp_path / "history.jsonl")
    for content in (b"", b"{}\n", b"nonsense\n", b'[]\n{"t":1}\n'):
        (tmp_path / "history.jsonl").write_bytes(content)
        with pytest.raises(Unreachable):
            read_history(tmp_path / "history.jsonl")


def test_a_full_disk_does_not_stop_the_client() -> None:
    with HistoryFile(Path("/dev/full")) as file:
        file.keep(Mark(1.0, "fault", "east"))
        file.keep(Mark(2.0, "healed", "east"))
    assert "No space left on device" in file.failure


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment whose state holds one drill, as a killed process leaves it: no report yet."""
    good = Path(__file__).parent / "cases" / "config" / "good.yaml"
    (tmp_path / "dcctl.yaml").write_text(f"extends: {good}\nstate_directory: state\n")
    bench = Bench()
    history = bench.run()
    folder = tmp_path / "state" / "runs" / bench.journal.run
    folder.mkdir(parents=True)
    keep(folder / "history.jsonl", history)
    with FileJournal(folder / "journal.jsonl", bench.journal.run, now=bench.clock.now) as journal:
        for event in bench.journal.events():
            journal.append(event.type, event.fields)
    return tmp_path


def test_a_report_is_made_again_from_what_is_on_disk(
    environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dcctl(["-e", str(environment), "drill", "report", "-o", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert Path(said["report"]).is_file()
    assert (said["drill"], said["findings"]["lost"]) == (DRILL.name, [])


def test_a_drill_is_listed_before_and_after_it_has_a_report(
    environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dcctl(["-e", str(environment), "drill", "list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["verdict"] == "no report yet"
    dcctl(["-e", str(environment), "drill", "report", "ab12"])
    capsys.readouterr()
    assert dcctl(["-e", str(environment), "drill", "list"]) == 0
    assert "site-cut" in capsys.readouterr().out


def test_a_drill_is_shown_as_a_story(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dcctl(["-e", str(environment), "drill", "show"]) == 0
    out = capsys.readouterr().out
    assert "FAULT: east is cut off the network" in out
    assert out.index("Patroni promoted west-db-1") < out.index("east is back on the network")


def test_a_drill_is_checked_again_by_what_its_clients_noted_alone(
    environment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dcctl(["-e", str(environment), "drill", "check", "-o", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert all(each["held"] for each in said["checks"])
    assert [each["measured"] for each in said["checks"] if each["name"].startswith("one site")] == [
        "one: east in epoch 1, then west in epoch 2"
    ]
    torn = tmp_path / "from-elsewhere.jsonl"
    lines = Path(said["history"]).read_text().splitlines(keepends=True)
    torn.write_text("".join(each for each in lines if '"final-read"' not in each))
    assert dcctl(["drill", "check", str(torn)]) == 7
    assert "acknowledged writes lost: not known" in capsys.readouterr().err


def test_no_drill_yet_is_not_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = Path(__file__).parent / "cases" / "config" / "good.yaml"
    (tmp_path / "dcctl.yaml").write_text(f"extends: {good}\nstate_directory: state\n")
    assert dcctl(["-e", str(tmp_path), "drill", "show"]) == 4
    assert "no drill was run" in capsys.readouterr().err


def test_an_environment_that_nothing_may_break_refuses_every_drill(
    environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dcctl(["-e", str(environment), "drill", "run", "site-cut"]) == 5
    assert "faults:" in capsys.readouterr().err


def test_the_help_of_a_drill_loads_no_vendor() -> None:
    code = "import sys; from dcctl.cli.main import run; run(['drill', 'run', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"psycopg", "requests", "jinja2", "openstack", "pyVmomi"} & set(done.stdout.split())
