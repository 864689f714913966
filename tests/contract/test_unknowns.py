"""Tests of unknown findings: none in a healthy world of any version.

Else people learn to wave unknowns through.
"""

import pytest
from pydantic import SecretStr

from obscale.agent.address import AgentAddress
from obscale.agent.client import AgentClient
from obscale.agent.cluster import ClusterClient
from obscale.connect.connections import Connections
from obscale.preflight.judge import judge_with_overrides
from obscale.preflight.read import survey
from obscale.preflight.unjudged import held_back
from obscale.request.scale_out import ScaleOut
from obscale.sandbox import Fault, in_process
from tests.contract.plan_scenes import ENTRY, ROOT, Scene

VERSIONS = (
    *("4.2.2.0-1", "4.2.3.0-1", "4.2.3.1-1", "4.2.4.0-1", "4.2.4.3-1", "4.2.5.0-1", "4.2.6.0-1"),
    *("4.3.0.0-1", "4.3.0.1-1", "4.3.1.0-1", "4.3.2.0-1", "4.4.0.0-1", "4.4.1.0-1", "4.4.2.0-1"),
    "4.5.0.0-12026050815",
)
SCENES = {
    "the sample": {},
    "a new zone": {"zone": "zone4", "allow_new_zone": True},
    "no sizes": {"asks": dict.fromkeys(("memory_limit", "system_memory", "datafile_size"))},
    "disks of their own": {
        "asks": {"data_dir": "/data/ob", "redo_dir": "/redo/ob"},
        "spare": {
            "host": {
                "disks": [
                    {"mount": "/", "device": "/dev/vda1"},
                    {"mount": "/data", "device": "/dev/vdb1", "total": "466G", "used": "3G"},
                    {"mount": "/redo", "device": "/dev/vdc1", "total": "466G", "used": "3G"},
                ]
            }
        },
    },
}


async def judged(scene, *faults, profile="prod"):
    """What preflight says of a scene in which these cards were played."""
    world = scene.make()
    for fault in faults:
        world.play(fault)
    transport = in_process(world)

    def client(address):
        return AgentClient(address, root_password=SecretStr(ROOT), transport=transport)

    async with ClusterClient([client(ENTRY)]) as cluster, client(AgentAddress("10.0.0.4")) as agent:
        link = Connections(cluster, agent, scene.cluster_spec, None)
        order = ScaleOut(
            cluster=scene.cluster_spec,
            node=scene.node,
            batch=(scene.node,),
            allow_new_zone=scene.allow_new_zone,
        )
        return judge_with_overrides(await survey(link, order, probing=False), profile)


@pytest.mark.parametrize("profile", ["prod", "lab"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
async def test_a_healthy_world_leaves_nothing_unknown(version, scene, profile):
    """What a version never tells does not count; nothing else is missing."""
    findings = await judged(Scene(world={"obshell_version": version}, **scene), profile=profile)

    assert findings.unknown == findings.unjudged == ()
    assert "unknown" not in findings.verdict


@pytest.mark.parametrize("spare", ["4.3.1.0-1", "4.4.1.0-1", "4.4.2.0-1"])
async def test_an_older_agent_that_will_be_upgraded_leaves_nothing_unknown(spare):
    """It tells less than its cluster, by its version."""
    findings = await judged(Scene(spare={"obshell_version": spare}))

    assert findings.unknown == ()


async def test_an_upgrade_of_which_nobody_can_tell_the_binary_is_unknown():
    """Below 4.3.0.0 an agent tells no architecture, and no other rule looks: a person has to."""
    findings = await judged(Scene(spare={"obshell_version": "4.2.5.0-1"}))

    assert findings.unknown == ("agent-binary-arch",)


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        ("host-info", {"mem-fits-total", "mem-available", "disk-fits", "disk-fs-type"}),
        ("unfinish", {"cluster-maintenance", "cluster-unfinished-dag", "agent-not-busy"}),
        ("parameters", {"upgrade-mode"}),
    ],
)
async def test_an_endpoint_that_fails_is_unknown_to_the_rules_that_needed_it(path, rules):
    """The agent has it and stumbles: held back in production where nobody is asked."""
    findings = await judged(Scene(), Fault.panic(to=path, times=0))

    held = held_back(findings, allow_unknown=False)
    assert rules <= set(findings.unknown)
    assert not findings.blockers
    assert findings.verdict.endswith(f", {len(findings.unknown)} unknown")
    assert held.blockers
    assert all(finding.answer == "unknown" for finding in held.blockers)
