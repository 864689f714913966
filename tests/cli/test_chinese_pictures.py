"""Makes the pictures of a terminal and a report in Chinese: what stands there is not cut off.

They stand in build/screenshots; `make pictures` takes them over. A terminal is drawn by Chromium,
with two columns for each wide sign; a report as Prefect's UI shows Markdown, by the same reader of
Markdown that comes with Rich.
"""

import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from obscale.report.page import render_markdown
from obscale.report.pictures import pictures_of
from obscale.report.report import ScaleOutReport
from tests.cli.test_chinese import TOO_BIG, failed  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build" / "screenshots"
REPORT = ROOT / "tests" / "data" / "report-of-a-failed-dag.json"
WIDTH = 80
IN_COLOUR = {
    "OBSCALE_LANG": "zh",
    "COLUMNS": str(WIDTH),
    "LINES": "200",
    "FORCE_COLOR": "1",
    "TERM": "xterm-256color",
}
FONTS = "'DejaVu Sans Mono','WenQuanYi Zen Hei Mono','WenQuanYi Zen Hei',monospace"
WIDE = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")


def shoot(page, name, width, height):
    """Have Chromium draw a page of HTML."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    source = SHOTS / f"{name}.html"
    source.write_text(page, encoding="utf-8")
    subprocess.run(
        [
            shutil.which("chromium") or "chromium",
            *("--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"),
            *(f"--window-size={width},{height}", f"--screenshot={SHOTS / name}.png"),
            source.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert (SHOTS / f"{name}.png").stat().st_size > 0


def apart(found):
    """Give each wide sign between two tags its two columns."""
    return f">{WIDE.sub(in_two_columns, found[1])}<"


def in_two_columns(found):
    """Give a wide sign its two columns."""
    return f"<b>{found[0]}</b>"


def terminal(written, command):
    """Make a page of what a terminal of 80 columns shows."""
    text = Text.from_ansi(f"$ {command}\n{written}")
    lines = text.plain.splitlines()
    assert max(map(cell_len, lines)) <= WIDTH
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(text, soft_wrap=True)
    inner = console.export_html(inline_styles=True, code_format="{code}")
    inner = re.sub(r">([^<]*)<", apart, f">{inner}<")[1:-1]
    style = (
        f"body{{margin:0;background:#fff}}pre{{margin:12px;font:15px/1.3 {FONTS};width:{WIDTH}ch}}"
        "b{display:inline-block;width:2ch;text-align:center;font-weight:inherit}"
    )
    return f"<meta charset=utf-8><style>{style}</style><pre>{inner}</pre>", len(lines)


def test_a_blocked_plan_at_80_columns(run_here, write, quiet_world):
    """Verdict first, and all of it on the picture."""
    ended = run_here("plan", write(quiet_world.request(**TOO_BIG), "node.yaml"), **IN_COLOUR)

    assert ended.code == 1
    page, lines = terminal(ended.out, "obscale plan node.yaml")
    shoot(page, "plan-zh", 760, round(lines * 19.5) + 24)


def test_a_failed_dags_choices_at_80_columns(run_here, write, failed):  # noqa: F811
    """Cause, evidence, choices with what each destroys, and why nobody was asked."""
    ended = run_here("recover", write(failed(5), "node.yaml"), **IN_COLOUR)

    page, lines = terminal(ended.out, "obscale recover node.yaml")
    shoot(page, "recover-zh", 760, round(lines * 19.5) + 24)


def test_a_report_at_1280_pixels(monkeypatch):
    """A real run's report of a failed DAG, read again; its folded parts stay folded."""
    report = ScaleOutReport.model_validate(json.loads(REPORT.read_text("utf-8")))
    monkeypatch.setenv("OBSCALE_LANG", "zh")

    page = render_markdown(report, pictures=pictures_of(report))

    shown = MarkdownIt("commonmark", {"html": True}).enable("table")
    shown.validateLink = lambda _: True
    body = shown.render(page)
    style = (
        "body{margin:0 auto;max-width:1180px;padding:16px 32px;color:#1f2328;"
        "font:15px/1.5 'DejaVu Sans','WenQuanYi Zen Hei',sans-serif}"
        "pre{background:#f6f8fa;padding:10px}img{max-width:700px}h1{font-size:24px}h2{font-size:19px}"
    )
    shoot(f"<meta charset=utf-8><style>{style}</style>{body}", "report-zh", 1280, 1770)
    assert html.unescape(body).count("DAG") > 1
