"""Tests of the command line in Chinese: words, widths, encodings, and JSON that stays as it is."""

import asyncio
import json
import re

import pytest
from pydantic import SecretStr
from rich.cells import cell_len

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.models import ScaleOutRequest
from obscale.language.translations import translations_of
from obscale.sandbox import Fault
from tests.cli.conftest import CONFIGS, ROOT_CANARY

WIDTH = 80
IN_CHINESE = {"OBSCALE_LANG": "zh", "COLUMNS": str(WIDTH)}
TOO_BIG = {"memory_limit": "80G", "datafile_size": "500G"}
ENGLISH = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b")
"""Three words in a row: a sentence nobody has translated."""
OF_THE_MOMENT = ("agent-running", "clock-precision", "clock-agreement", "clock-here")
"""Rules that measure another time at each look."""
LOOKS = 400


@pytest.fixture
def failed(open_world):
    """Give a world in which a scale-out stands FAILED at a stage, and a request for its node."""

    def begin(stage):
        served = open_world(Fault.fail_stage(stage), speed=200)
        request = served.request()
        node = request["nodes"][0]
        body = {"agentInfo": node["agentInfo"], "zone": node["zone"], "obConfigs": CONFIGS}
        body |= {"targetAgentPassword": "canary-agent-77c2"}

        async def post():
            entry = served.ready["clusters"][0]["agents"][0]
            address = AgentAddress(entry["ip"], entry["port"])
            async with AgentClient(address, root_password=SecretStr(ROOT_CANARY)) as agent:
                await agent.submit_scale_out(ScaleOutRequest.model_validate(body))
                for _ in range(LOOKS):
                    last = await agent.read_last_cluster_dag()
                    if last and last.is_failed:
                        return
                    await asyncio.sleep(0.05)
                raise AssertionError("not FAILED within its time")

        asyncio.run(post())
        return request

    return begin


def told_in(out):
    """What a page says, without the blanks and breaks of its lines."""
    return re.sub(r"\s+", "", out)


def test_a_blocked_plan_is_told_in_chinese(run_here, write, quiet_world):
    """Verdict, headings, findings and units, remedies, what happens else: none is English."""
    ended = run_here("plan", write(quiet_world.request(**TOO_BIG)), **IN_CHINESE)

    assert ended.code == 1
    text = told_in(ended.out)
    for said in (
        "被拦截（prod）下一步：请将memory_limit调低到56G或更小，然后重新执行plan",
        "检查结果",
        "拦截mem-fits-total80G；要求≤62.8G",
        "→请停止其他进程，或调低memory_limit；请与free-g比较；否则不会有任何报告，或因内存被杀",
        "首次启动需524G（数据500G，日志24G，slog4G），位于/；要求≤剩余446G",
        "警告zone-balance",
        "提示standby-note租户app；未告知是主租户还是备租户",
        "预计之后observerCPU资源单元内存数据盘",
        "已用9/48→64核，资源单元2",
        "有7项obshell无法看到；就绪后再询问",
    ):
        assert said in text
    assert ENGLISH.findall(ended.out) == []


def test_columns_stand_below_one_another_at_80_cells(run_here, write, quiet_world):
    """A sign of Chinese takes two cells: no line is too wide, columns begin in one place."""
    ended = run_here("plan", write(quiet_world.request(**TOO_BIG)), **IN_CHINESE)

    lines = ended.out.splitlines()
    assert max(map(cell_len, lines)) <= WIDTH
    bars = [cell_len(line[: re.search("[█░▓]", line).start()]) for line in lines if "█" in line]
    assert len(bars) == 4
    assert len(set(bars)) == 1
    zones = [cell_len(line.partition("8G")[0]) for line in lines if re.match(r"  zone[13] ", line)]
    assert len(set(zones)) == 1


def test_json_is_the_same_in_any_language(run_here, write, quiet_world):
    """Ids, texts and order: nothing of it hears of a language."""
    request = write(quiet_world.request(**TOO_BIG))

    english, chinese = (
        json.loads(run_here("plan", request, "--json", OBSCALE_LANG=language).out)
        for language in ("en", "zh")
    )

    for plan in (english, chinese):
        del plan["made_at"]
        for row in plan["rows"]:
            row["findings"] = [
                each for each in row["findings"] if each["rule"] not in OF_THE_MOMENT
            ]
    assert chinese == english


def test_a_plan_in_english_never_reads_the_catalogue(run_here, write, quiet_world):
    """It costs nothing who has not asked for it."""
    translations_of.cache_clear()

    run_here("plan", write(quiet_world.request(**TOO_BIG)), OBSCALE_LANG="en", LANG="zh_CN.UTF-8")
    assert translations_of.cache_info().currsize <= 1, "English alone"

    run_here("plan", write(quiet_world.request(**TOO_BIG)), OBSCALE_LANG="zh")
    assert translations_of.cache_info().misses >= 1
    assert translations_of("zh") is not None


def test_a_request_that_is_wrong_is_told_in_chinese(run_here, write, quiet_world):
    """A line a problem, with its field and what to write instead."""
    request = quiet_world.request()
    request["nodes"][0]["obConfigs"]["memory_limit"] = 16

    ended = run_here("plan", write(request, "request.json"), **IN_CHINESE)

    assert ended.code == 2
    assert "是数字而不是文本；请连同单位加引号：'16M' 或 '16G'？" in ended.err


def test_recover_tells_cause_choices_and_what_they_destroy_in_chinese(run_here, write, failed):
    """Where nobody is there to choose, it says so too; the ids stay."""
    ended = run_here("recover", write(failed(5)), **IN_CHINESE)

    assert ended.code == 2
    text = told_in(ended.out)
    for said in (
        "observer在启动时退出[observer-died]",
        "RETRY（安全）：撤销并重做阶段5'Waitremotestartfinish'，然后继续；会删除：",
        "ROLLBACK（安全）：",
        "→HAND_OVER（建议，安全）：在回滚将其删除之前，请阅读目标节点上的",
        "从阶段5撤销到阶段1并释放集群的锁，然后等待目标节点恢复为SINGLE",
        "执行rm-rf",
    ):
        assert said in text, ended.out
    assert "没有人为" in ended.err
    assert max(map(cell_len, ended.out.splitlines())) <= WIDTH


def test_a_member_is_proved_in_chinese(run_here, write, quiet_world):
    """Levels and ids stay; what was found and expected is Chinese."""
    request = quiet_world.request()
    first = quiet_world.ready["clusters"][0]["agents"][0]
    request["nodes"][0] |= {
        "agentInfo": {"ip": first["ip"], "port": first["port"]},
        "zone": first["zone"],
    }
    del request["nodes"][0]["targetAgentPassword"]
    request["time_limits"] = {"steady_seconds": 0.2}

    ended = run_here("verify", write(request), **IN_CHINESE)

    assert ended.code == 0, ended.err
    for said in ("校验", "证明", "CONFORMING", "通过", "全部相同", "可供租户使用的容量"):
        assert said in ended.out
    assert max(map(cell_len, ended.out.splitlines())) <= WIDTH


def test_a_cluster_is_shown_in_chinese(run_here, write, quiet_world):
    """Line of the verdict, headings, columns, bars, and why there are no runs."""
    request = write(quiet_world.request())

    ended = run_here("show", request, **IN_CHINESE | {"COLUMNS": "120"}, PREFECT_API_URL="")

    assert ended.code == 0, ended.err
    for said in ("3 个 observer 中 3 个在服务，锁空闲", "可用区", "Agent 自称", "正在进行", "容量"):
        assert said in ended.out
    assert "未配置 Prefect（PREFECT_API_URL），因此没有保存的运行" in ended.out
    assert ENGLISH.findall(ended.out) == []


def test_a_failed_dag_is_shown_in_chinese(run_here, write, failed):
    """Its name is obshell's, its target and state stay; whose lock it holds is said."""
    ended = run_here(
        "show", write(failed(5)), **IN_CHINESE | {"COLUMNS": "120"}, PREFECT_API_URL=""
    )

    assert ended.code == 0, ended.err
    assert "持有锁" in ended.out
    assert "FAILED，位于阶段 5/9，Wait remote start finish；锁：持有" in ended.out


def test_a_word_is_explained_in_chinese(run_here):
    """What a rule asks, a proof shows, an exit code means; sources of rules stay as they are."""
    for word, said in (
        ("mem-fits-total", "检查：主机容得下 memory_limit"),
        ("pv-dirs", "数据与 redo 位于请求的目录"),
        ("3", "没有可询问的 Agent"),
        ("observer-died", "observer 在启动时退出"),
    ):
        ended = run_here("explain", word, **IN_CHINESE)
        assert ended.code == 0
        assert said in ended.out
