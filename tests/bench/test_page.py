"""The pages show what was measured, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from bench import page
from bench.bars import BARS, CASES


def figures() -> page.Figures:
    """Read what is kept."""
    kept: page.Figures = json.loads(page.FIGURES.read_text("utf-8"))
    return kept


@pytest.mark.parametrize("path", page.PAGES, ids=lambda path: path.name)
def test_the_pages_are_made_of_the_figures(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "<!-- measured: " in text
    assert page.filled(text, page.parts(figures())) == text, "run python -m bench.page"


def test_every_case_and_every_bar_is_on_the_page() -> None:
    text = page.PAGES[0].read_text("utf-8")
    for name in CASES:
        assert f"<!-- measured: {name} -->" in text
    for bar in [*(bar.name for bar in BARS), *(f"P{n}" for n in (7, 8, 9, 10, 11, 12, 13))]:
        assert re.search(rf"^- {bar}\b", text, re.MULTILINE), bar
    for picture in page.PICTURES:
        assert page.FIGURES.with_name(picture).read_bytes().startswith(b"\x89PNG")
        assert f"(performance/{picture})" in text


def test_nothing_of_the_machine_but_its_facts_is_kept() -> None:
    assert not re.search(r'"/|\b(home|tmp|root|work)/', page.FIGURES.read_text("utf-8"))


def test_a_part_without_figures_is_told() -> None:
    with pytest.raises(KeyError, match="speed"):
        page.filled("<!-- measured: speed -->\n<!-- end -->", {})


def test_a_figure_by_hand_does_not_stay() -> None:
    text = "<!-- measured: a -->\n100 times faster\n<!-- end -->\nbehind"
    assert page.filled(text, {"a": "1"}) == "<!-- measured: a -->\n\n1\n\n<!-- end -->\nbehind"


def test_what_was_not_measured_again_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "figures.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({"startup": "old", "tail": []}))
    (tmp_path / "startup.json").write_text(json.dumps({"verdict": "new"}))
    page.take(tmp_path, kept)
    assert json.loads(kept.read_text()) == {"startup": "new", "tail": []}
