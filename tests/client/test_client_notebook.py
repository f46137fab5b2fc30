"""What a notebook shows of clients, views, results and queues."""

from __future__ import annotations

import json
import pickle
import signal
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_cluster import RealCluster, until

from parpool import Client, ControllerLost, Pool
from parpool.client import notebook
from parpool.client.outcome import Arrived
from parpool.client.result import AsyncResult

SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<script>alert('&amp;\"')</script>\0\ud800\x1b"


def parsed(page: str) -> ElementTree.Element:
    """Well-formed, alone, and without what runs or is loaded."""
    page.encode()
    tree = ElementTree.fromstring(page)
    allowed = {"div", "b", "table", "tr", "th", "td", *(SVG + each for each in ("svg", "g", "text", "rect", "title"))}
    assert {each.tag for each in tree.iter()} <= allowed
    for each in tree.iter():
        assert not {name for name in each.attrib if name.startswith("on") or "href" in name or name == "src"}
        assert "url(" not in " ".join(each.attrib.values())
    Tags().feed(page)
    return tree


class Tags(HTMLParser):
    """Closes what it opens, as HTML has it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def words(tree: ElementTree.Element) -> str:
    """Its text, but for what is shown where the mouse rests."""
    return "".join(text for each in tree.iter() if each.tag != SVG + "title" for text in (each.text, each.tail) if text)


def table(tree: ElementTree.Element) -> list[dict[str, str]]:
    """The rows of its table by the names of the columns."""
    lines = [[cell.text or "" for cell in line] for line in tree.iter("tr")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def rows(tree: ElementTree.Element) -> dict[str, list[ElementTree.Element]]:
    """The bars of a timeline by their engines."""
    return {
        str(row.findtext(f"{SVG}text")): row.findall(f"{SVG}rect[@class='task']")
        for row in tree.iter(SVG + "g")
        if row.get("class") == "engine"
    }


def in_bounds(tree: ElementTree.Element) -> None:
    """Every bar lies within the ground of its row, and every row within the picture."""
    (picture,) = tree.iter(SVG + "svg")
    for number, row in enumerate(picture.iter(SVG + "g")):
        ground, *bars = (
            [float(each.attrib[name]) for name in ("x", "y", "width", "height")] for each in row.findall(f"{SVG}rect")
        )
        assert ground[0] + ground[2] <= float(picture.attrib["width"])
        assert ground[1] + ground[3] <= float(picture.attrib["height"])
        assert number * notebook.ROW <= ground[1] and ground[1] + ground[3] <= (number + 1) * notebook.ROW
        before = ground[0]
        for x, y, width, height in bars:
            assert ground[0] <= x and x + width <= ground[0] + ground[2] + 0.1, "as far as it is rounded"
            assert ground[1] <= y and y + height <= ground[1] + ground[3]
            assert width >= notebook.THINNEST and x >= before
            before = x


def nap(seconds: float) -> float:
    if seconds < 0:
        raise ValueError(seconds)
    time.sleep(seconds)
    return seconds


# Results ----------------------------------------------------------------------------------------------


def test_a_bar_for_each_task_in_the_row_of_its_engine(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(nap, [0.01] * 12, chunksize=2)
    result.get(20)
    tree = parsed(result._repr_html_())
    ran: dict[str, int] = {}
    for line in result.timeline:
        ran[f"engine {line['engine_id']}"] = ran.get(f"engine {line['engine_id']}", 0) + 1
    assert {engine: len(bars) for engine, bars in rows(tree).items()} == ran and sum(ran.values()) == 6
    assert words(tree).startswith("ViewMapResult nap: ready, 12 of 12 items, ") and "failed" not in words(tree)
    assert repr(result) == "<ViewMapResult nap: ready>", "the plain text beside it"
    in_bounds(tree)
    names = {title.text for title in tree.iter(SVG + "title")}
    assert {str(text).split(": ")[1].split(",")[0] for text in names} == set(result.msg_ids)


def test_bars_are_where_the_tasks_were(rc: Client) -> None:
    result = rc[0].apply_async(nap, 0.2)
    result.get(20)
    (line,) = result.timeline
    (bar,) = rows(parsed(result._repr_html_()))["engine 0"]
    scale = notebook.PLOT / result.elapsed
    assert float(bar.attrib["x"]) == pytest.approx(notebook.LABEL + line["started"] * scale, abs=0.1)
    assert float(bar.attrib["width"]) == pytest.approx((line["completed"] - line["started"]) * scale, abs=0.1)


def test_failures_are_told_and_have_another_colour(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(nap, [-1, 0.01, 0.01, 0.01], chunksize=1)
    result.wait(20)
    tree = parsed(result._repr_html_())
    assert "failed, 4 of 4 items" in words(tree) and words(tree).count("1 failed") == 1
    colours = [bar.attrib["fill"] for bars in rows(tree).values() for bar in bars]
    assert sorted(colours) == sorted([notebook.COLOURS["error"], *[notebook.COLOURS["ok"]] * 3])


def test_what_has_not_ended(rc: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def wait(path: str) -> None:
        while not Path(path).exists():
            time.sleep(0.002)

    result = rc[:].apply_async(wait, str(gate))
    try:
        tree = parsed(result._repr_html_())
        assert "JoinedResult apply: pending, 0 of 2 items" in words(tree) and not rows(tree)
    finally:
        gate.touch()
    result.get(20)
    assert list(rows(parsed(result._repr_html_()))) == ["engine 0", "engine 1"]


def test_what_never_ran_has_no_bar(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(repr, [Unsent()])
    result.wait(20)
    tree = parsed(result._repr_html_())
    assert "failed, 1 of 1 item," in words(tree) and not rows(tree)


class Unsent:
    def __reduce__(self) -> Any:
        raise TypeError("stays here")


def test_of_a_pool_and_of_no_items_at_all(rc: Client, pool: Pool) -> None:
    for result in (pool.map_async(abs, range(100)), pool.apply_async(abs, (-1,)), rc.load_balanced_view().map(abs, [])):
        result.wait(20)
        assert "ready" in words(parsed(result._repr_html_()))


def test_names_are_escaped_and_cut(rc: Client) -> None:
    def f(x: object) -> object:
        return x

    f.__name__ = f.__qualname__ = EVIL + "x" * 1000
    tree = parsed((result := rc[0].apply_async(f, 1))._repr_html_())
    result.get(20)
    assert "<script>alert('&amp;\"')</script>\ufffd\ufffd\ufffdxxx" in words(tree) and len(words(tree)) < 200


@given(text=st.text(st.characters(exclude_categories=())) | st.sampled_from([EVIL, "a" * 81, "&" * 80]))
def test_any_text_is_escaped(text: str) -> None:
    again = parsed(f"<div>{notebook.escaped(text)}</div>").text or ""
    # A parser makes one newline of each kind that there is.
    same = "".join("\ufffd" if notebook._UNSPEAKABLE.match(each) else each for each in text)
    same = same if len(same) <= notebook.SHOWN else same[: notebook.SHOWN - 1] + "…"
    assert again == same.replace("\r\n", "\n").replace("\r", "\n")


class Told(AsyncResult):
    """A result of which all is made up but the link."""

    def __init__(self, rc: Client, arrived: list[Arrived]) -> None:
        super().__init__(rc.link, rc)
        self._told, self._submitted, self._done = arrived, 1e9, True

    def _arrived(self) -> list[Arrived]:
        return self._told

    def _failure(self) -> object:
        return None

    def __len__(self) -> int:
        return self.progress


times = st.floats(-5, 50) | st.sampled_from([0.0, 10.0, 1e-7, 1e6])
told = st.tuples(
    st.none() | st.integers(0, 40), times, st.floats(0, 5), times, st.integers(-5, 3), st.integers(1, 10**6)
)


@settings(max_examples=60)
@given(tasks=st.lists(told, max_size=200))
def test_whatever_the_clocks_say_it_stays_within_its_bounds(rc: Client, tasks: list[Any]) -> None:
    arrived = [
        Arrived(number, status, b"", 1e9 + start, 1e9 + start + took, 1e9 + came, engine, size)
        for number, (engine, start, took, came, status, size) in enumerate(tasks)
    ]
    tree = parsed(Told(rc, arrived)._repr_html_())
    end = max((task.received for task in arrived), default=0)
    engines = sorted({task.engine for task in arrived if task.engine is not None}) if end > 1e9 else []
    assert list(rows(tree)) == [f"engine {id}" for id in engines[: notebook.ROWS]]
    assert f"and {len(engines) - notebook.ROWS} engine" in words(tree) or len(engines) <= notebook.ROWS
    if engines:
        in_bounds(tree)


def test_a_million_tasks_are_not_a_million_bars(rc: Client) -> None:
    arrived = [Arrived(n, n == 77_000, b"", 1e9 + n, 1e9 + n + 0.9, 1e9 + n + 1, n % 3, 10) for n in range(100_000)]
    page = Told(rc, arrived)._repr_html_()
    tree = parsed(page)
    assert len(page) < 1_000_000
    assert {len(bars) for bars in rows(tree).values()} <= set(range(240, 271)), "as many as can be told apart"
    assert [bar.attrib["fill"] for bars in rows(tree).values() for bar in bars].count(notebook.COLOURS["error"]) == 1
    counts = [str(title.text).split() for title in tree.iter(SVG + "title")]
    assert sum(int(count[2]) for count in counts) == 100_000 and sum(int(count[4]) for count in counts) == 1_000_000


def test_bars_stand_out_from_light_and_from_dark() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for colour in notebook.COLOURS.values():
        for page in ("#ffffff", "#111111"):
            light, dark = sorted((luminance(colour), luminance(page)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, "as accessible graphics should"


# Clients, views and queues ------------------------------------------------------------------------------


def test_a_client_and_its_queues(rc: Client) -> None:
    rc[:].apply_sync(nap, 0)
    until(lambda: not any(each["tasks"] for each in rc.queue_status().values() if isinstance(each, dict)))
    status = rc.queue_status(verbose=True)
    for tree in (parsed(rc._repr_html_()), parsed(status._repr_html_())):  # type: ignore[attr-defined]
        assert [line["engine"] for line in table(tree)] == ["0", "1"]
        for id, line in enumerate(table(tree)):
            assert line["process"] == str(status[id]["pid"]) and line["machine"] == status[id]["hostname"]
            assert (line["holds"], line["waiting for it"]) == ("0", "0")
            assert line["completed"] == str(status[id]["completed"])
    assert words(parsed(rc._repr_html_())).startswith("Client of 2 engines")
    assert repr(rc) == "<Client: engines [0, 1]>"


def test_a_queue_status_is_a_dict_like_any_other(rc: Client) -> None:
    status = rc.queue_status()
    assert json.loads(json.dumps(status)) == {str(key): value for key, value in status.items()}
    assert pickle.loads(pickle.dumps(status)) == status == dict(status) and repr(status) == repr(dict(status))
    one: Any = rc.queue_status(1)
    assert table(parsed(one._repr_html_())) == [
        {"holds": "0", "waiting for it": "0", "completed": str(one["completed"])}
    ]
    several: Any = rc.queue_status([1])
    assert [line["engine"] for line in table(parsed(several._repr_html_()))] == ["1"]


def test_names_of_machines_are_escaped_too() -> None:
    status = notebook.QueueStatus({0: {"tasks": [1], "queue": 2, "hostname": EVIL, "name": "&"}, "unassigned": 1})
    tree = parsed(status._repr_html_())
    (line,) = table(tree)
    assert line["machine"].startswith("<script>alert(") and (line["holds"], line["waiting for it"]) == ("1", "2")
    assert "1 task waits for any engine" in words(tree)


def test_many_engines_are_not_all_shown() -> None:
    status = notebook.QueueStatus({id: {"tasks": 0, "queue": 0, "completed": 0} for id in range(1000)})
    tree = parsed(status._repr_html_())
    assert len(table(tree)) == notebook.ROWS and "and 968 more engines" in words(tree)
    assert parsed(notebook.QueueStatus()._repr_html_()) is not None


def test_views(rc: Client) -> None:
    for view, head, ids in (
        (rc[:], "DirectView of 2 engines", ["0", "1"]),
        (rc[1], "DirectView of 1 engine", ["1"]),
        (rc.direct_view("all"), "DirectView of all engines", ["0", "1"]),
        (rc.load_balanced_view(), "LoadBalancedView of any engine", ["0", "1"]),
        (rc.load_balanced_view([0, 1]), "LoadBalancedView of any of 2 engines", ["0", "1"]),
    ):
        tree = parsed(view._repr_html_())
        assert words(tree).startswith(f"{head}engine") and [line["engine"] for line in table(tree)] == ids
    view = rc.load_balanced_view([0])
    with view.temp_flags(retries=3, policy="lru", task_timeout=1.5):
        assert "with retries=3, task_timeout=1.5, policy='lru'" in words(parsed(view._repr_html_()))


@pytest.fixture
def closed() -> Iterator[Client]:
    """The client of a pool that has ended."""
    with Pool(2) as pool:
        assert pool.client.wait_for_engines(2, 20)
        yield pool.client
    pool.join()


def test_what_is_gone_raises_nothing(closed: Client) -> None:
    view, one, result = closed[0, 1], closed[0], closed[0].apply_async(abs, -1)
    assert result.get(20) == 1
    closed.shutdown(0)
    until(lambda: closed.ids == [1])
    lines = table(parsed(view._repr_html_()))
    assert [(line["engine"], line["machine"]) for line in lines] == [
        ("0", "does not serve"),
        ("1", lines[1]["machine"]),
    ]
    assert table(parsed(one._repr_html_())) == [{"engine": "0", "machine": "does not serve"}]
    closed.close()
    for shown in (closed, view, closed.load_balanced_view()):
        assert "terminated" in words(parsed(shown._repr_html_()))
    assert "ready" in words(parsed(result._repr_html_()))


def test_what_went_wrong_is_told_to_its_end(rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(patience: float) -> None:
        raise ControllerLost("what has happened, " * 10 + "and what to do")

    monkeypatch.setattr(rc.link.control, "status", fail)
    assert words(parsed(rc._repr_html_())).endswith("and what to do")


def test_a_controller_that_does_not_answer_holds_up_no_notebook(
    cluster: RealCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster.client() as rc:
        assert rc.wait_for_engines(2, 20)
        view, result = rc[:], rc[0].apply_async(abs, -1)
        assert result.get(20) == 1
        assert [line["engine"] for line in table(parsed(rc._repr_html_()))] == ["0", "1"]
        monkeypatch.setattr(notebook, "PATIENCE", 0.05)
        cluster.controller.send_signal(signal.SIGSTOP)
        try:
            for shown in (rc, view):
                assert "ParpoolError: the controller has not answered within 0.05 s" in words(
                    parsed(shown._repr_html_())
                )
            assert list(rows(parsed(result._repr_html_()))) == ["engine 0"]
        finally:
            cluster.controller.send_signal(signal.SIGCONT)
        monkeypatch.undo()
        until(lambda: len(table(parsed(rc._repr_html_()))) == 2)
