"""Tests that every text for people has its Chinese, and that nothing else is touched by it."""

import re
import subprocess
import sys

import pytest
import yaml

from obscale.language import for_page, for_reader
from obscale.language.choice import language_of
from obscale.language.translations import FILLED, PLACE, translations_of
from obscale.text import Markdown, bullets, folded, markdown
from tests.unit.message_ids import ROOT, gather

CATALOGUE = yaml.safe_load((ROOT / "obscale/language/zh_CN.yaml").read_text("utf-8"))
TEXTS, WORDS = CATALOGUE["texts"], CATALOGUE["words"]
SAME = {each: reason for reason, ids in CATALOGUE["same"].items() for each in ids}
FOUND = gather()
CHINESE = translations_of("zh")
SOURCES = [
    path.read_text("utf-8") for top in ("obscale", "tasks") for path in (ROOT / top).rglob("*.py")
]
ALL_SOURCES = "\n".join(SOURCES)
LOCALES = ("OBSCALE_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture
def speaks(monkeypatch):
    """Give a function that sets the locale's variables, and takes away all others of them."""

    def set_to(**variables):
        for name in LOCALES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_to


def test_no_message_id_is_without_a_translation():
    """The list of those that are missing is empty; `python -m tests.unit.message_ids` prints it."""
    assert [each for each in FOUND if each not in TEXTS | WORDS | SAME] == []


def test_a_translation_equal_to_its_source_has_a_reason():
    """What stays as it is stands apart, below the reason why."""
    equal = [each for each, said in (TEXTS | WORDS).items() if FILLED.sub("{}", said) == each]

    assert equal == []
    assert all(len(reason.split()) > 1 for reason in SAME.values())


def test_no_translation_is_left_over():
    """Each id in the catalogue stands in the source still, and no id stands there twice."""
    assert [each for each in (*TEXTS, *SAME) if each not in FOUND] == []
    assert [
        word
        for word in WORDS
        if "{" not in word and f'"{word}"' not in ALL_SOURCES and f" {word}" not in ALL_SOURCES
    ] == []
    assert not set(TEXTS) & set(SAME)


def test_a_translation_has_the_places_of_its_id():
    """All values, by their numbers; only an ending of English words may be left out."""
    wrong = []
    for template, said in (TEXTS | WORDS).items():
        numbers = {int(found[1]) for found in FILLED.finditer(said)}
        endings = FOUND[template].endings if template in FOUND else frozenset()
        known = set(range(len(PLACE.findall(template))))
        if not (numbers <= known and known - numbers <= endings):
            wrong.append(template)

    assert wrong == []


def test_values_that_stand_side_by_side_stay_so():
    """In a finished text nobody can tell them apart, so they are said as one."""
    wrong = []
    for template, said in (TEXTS | WORDS).items():
        numbers = [int(found[1]) for found in FILLED.finditer(said)]
        for first in re.finditer(rf"(?=(?:{PLACE.pattern})(?:{PLACE.pattern}))", template):
            before = len(PLACE.findall(template[: first.start()]))
            if before in numbers and before + 1 in numbers:
                at = numbers.index(before)
                if numbers[at + 1 : at + 2] != [before + 1]:
                    wrong.append(template)

    assert wrong == []


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        *(("zh", "zh"), ("zh_CN.UTF-8", "zh"), ("zh_CN.GBK", "zh"), ("zh-Hans", "zh")),
        *(("zh_SG", "zh"), ("zh_TW.UTF-8", "en"), ("en_GB.UTF-8", "en"), ("C", "en"), ("", "en")),
    ],
)
def test_a_locale_names_a_language(locale, language):
    """Simplified Chinese, or English."""
    assert language_of(locale) == language


def test_who_reads_is_asked_in_the_order_of_posix(speaks):
    """OBSCALE_LANG before all, then the locale's variables; the first that is set counts."""
    speaks(LANG="zh_CN.UTF-8")
    assert for_reader("rule passes", is_ours=True) == "rule passes"
    assert for_reader("no answer") == "无应答"
    speaks(LANG="zh_CN.UTF-8", LC_ALL="en_US.UTF-8")
    assert for_reader("no answer") == "no answer"
    speaks(LC_ALL="en_US.UTF-8", OBSCALE_LANG="zh")
    assert for_reader("no answer") == "无应答"
    speaks(LANG="zh_CN.UTF-8", OBSCALE_LANG="en")
    assert for_reader("no answer") == "no answer"


def test_a_page_never_hears_of_a_persons_locale(speaks):
    """What is stored for all readers is in the deployment's language: OBSCALE_LANG alone."""
    speaks(LANG="zh_CN.UTF-8", LC_ALL="zh_CN.UTF-8")
    assert for_page("no answer") == "no answer"
    assert markdown("Next: {}.", "no answer") == "Next: no answer."
    speaks(LANG="en_US.UTF-8", OBSCALE_LANG="zh_CN")
    assert for_page("no answer") == "无应答"
    assert markdown("Next: {}.", "no answer") == "下一步：无应答。"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "lower memory_limit to 56G or less, then plan again",
            "请将 memory_limit 调低到 56G 或更小，然后重新执行 plan",
        ),
        (
            "524G at first start (data 500G, log 24G, slog 4G) on /",
            "首次启动需 524G（数据 500G，日志 24G，slog 4G），位于 /",
        ),
        (
            "home, data and redo all on /; logs are never recycled",
            "工作目录、数据和 redo 都在 /；日志不会被回收",
        ),
        (
            "datafile_size 500G, all servers 24G; memory_limit 80G, all servers 16G",
            "datafile_size 为 500G，所有服务器为 24G；memory_limit 为 80G，所有服务器为 16G",
        ),
        (
            (
                "blocked by preflight: mem-available: 80G; needed ≤ 60G available. "
                "Next: lower memory_limit to 56G or less"
            ),
            (
                "被预检拦截：mem-available: 80G；要求 ≤ 可用 60G。"
                "下一步：请将 memory_limit 调低到 56G 或更小"
            ),
        ),
        (
            (
                "stop other processes, or lower memory_limit; compare with free -g; "
                "otherwise nothing reports it"
            ),
            "请停止其他进程，或调低 memory_limit；请与 free -g 比较；否则不会有任何报告",
        ),
        (
            "ready with 2 warnings and 1 override, 4 unknown",
            "可以执行，有 2 个警告和 1 个豁免，4 项未知",
        ),
        ("18 of 48 cores used", "48 核中已用 18"),
        ("4 min 5 s", "4 分 5 秒"),
        (
            "DAG 17 is at stage 3/9 'x' and goes on by itself; the node is not verified yet",
            "DAG 17 处于阶段 3/9 'x'并自行继续；节点尚未校验",
        ),
    ],
)
def test_a_finished_sentence_is_said_in_chinese(english, chinese):
    """With its values, its units, its parts; whatever was put together of known texts."""
    assert CHINESE.text(english) == chinese


@pytest.mark.parametrize(
    "text",
    [
        *("empty", "nothing", "zone", "SINGLE", "10.0.0.1:2886", "mem-fits-total"),
        "ERROR: [Agent.RPC.RequestError]: send scale out rpc failed: connection refused",
        "Wait remote deploy finish",
        "",
        " ",
    ],
)
def test_names_ids_and_words_of_others_stay(text):
    """A zone may be called `empty`; obshell's logs and the names of its stages are its own."""
    assert CHINESE.text(text) == text


def test_names_of_stages_stay_in_lines_about_them():
    """Obshell calls them so, everywhere."""
    assert CHINESE.text("✔ stage 1/9 Integrate server config") == (
        "✔ 阶段 1/9 Integrate server config"
    )


def test_a_page_in_chinese_escapes_what_others_said(speaks):
    """A hostile name stays harmless where the words around it change their order."""
    speaks(OBSCALE_LANG="zh")

    page = markdown("{} into {} of {}: {}", "<b>a</b>", "z|1", "[x](y)", "verified")

    assert page == "\\[x](y) 的 &lt;b>a&lt;/b> 加入 z\\|1：已校验"
    assert "<script>" not in folded("Findings", ["<script>", "no answer"])
    assert "检查结果" in folded("Findings", ["no answer"])
    assert bullets([Markdown("**no answer**")]) == "- **no answer**"


def test_english_never_opens_the_catalogue():
    """It costs nothing who does not ask for it."""
    script = (
        "import sys\n"
        "opened = []\n"
        "def hear(event, about):\n"
        "    if event == 'open' and str(about[0]).endswith('zh_CN.yaml'): opened.append(about[0])\n"
        "sys.addaudithook(hear)\n"
        "from obscale.language import for_reader, for_page\n"
        "from obscale.cli.terminal import as_text, say\n"
        "from obscale.text import markdown\n"
        "as_text('no answer'); say('no answer'); markdown('Next: {}.', 'no answer')\n"
        "assert not opened, opened\n"
        "import os; os.environ['OBSCALE_LANG'] = 'zh'; for_reader('no answer')\n"
        "assert len(opened) == 1, opened\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "", "LANG": "en_US.UTF-8"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "no answer\n"


@pytest.mark.parametrize(("encoding", "said"), [("ascii", "no answer"), ("gbk", "无应答")])
def test_a_terminal_that_cannot_show_chinese_gets_english(encoding, said):
    """GBK shows all of it; ASCII none."""
    ended = subprocess.run(
        [sys.executable, "-c", "from obscale.cli.terminal import say; say('no answer')"],
        env={"PATH": "", "LANG": "zh_CN.UTF-8", "PYTHONIOENCODING": encoding},
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.stdout.decode(encoding) == f"{said}\n", ended.stderr
