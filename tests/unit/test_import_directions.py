"""Tests of import directions, as drawn in docs/architecture.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (
    {"obscale.errors", "obscale.sizes", "obscale.request.time_limits", "obscale.text"},
    {"obscale.agent"},
    {"obscale.rules"},
    {"obscale.spec"},
    {
        *(
            "obscale.request.form",
            "obscale.request.scale_out",
            "obscale.connect.connections",
            "obscale.follow.local_dag",
            "obscale.preflight.read",
            "obscale.reading",
            "obscale.preflight.clocks",
            "obscale.preflight.settle",
            "obscale.preflight.port_probe",
            "obscale.verify.read",
            "obscale.verify.run",
            "obscale.follow.reminders",
        ),
        *(
            "obscale.plan",
            "obscale.report.report",
            "obscale.follow.run",
            "obscale.recovery.read",
            "obscale.recovery.run",
        ),
        "obscale.connect.endpoints",
        "obscale.report.audit",
        "obscale.recovery.read_interrupted",
        "obscale.connect.entry_agents",
        "obscale.batch",
    },
    {"tasks"},
    {"flows"},
    {"obscale.cli", "deployments"},
)
"""From the ground up: a module may import its own layer and those before it."""
APART = {"obscale.sandbox": {"obscale.cli"}}
"""Stands beside the layers: imports none of them, and is imported only by these."""
PREFECT_DOORS = {"tasks", "flows", "obscale.cli", "deployments"}


def room_of(module: str) -> str:
    """`obscale.agent.client` lives in the room `obscale.agent`; `tasks.poll` in `tasks`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "obscale" else parts[0]


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources() -> list[Path]:
    return sorted(
        path
        for top in ("obscale", "flows", "tasks", "deployments")
        for path in (ROOT / top).rglob("*.py")
    )


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    """No module imports from a layer above its own, and only doors know Prefect."""
    room = room_of(module_name(path))
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}

    for target in imports_of(path):
        other = room_of(target)
        if target.split(".")[0] == "prefect":
            assert room in PREFECT_DOORS, f"{path} imports Prefect"
        elif other in APART and other != room:
            assert room in APART[other], f"{path} imports {target}"
        elif other in level:
            assert room not in APART, f"{path} of {room} imports {target}"
            if room != "obscale":
                assert level[other] <= level[room], f"{path} imports {target} from above"


def test_every_room_is_placed():
    """A new module must be given its layer here before it can be merged."""
    placed = {name for layer in LAYERS for name in layer} | set(APART) | {"obscale"}

    rooms = {room_of(module_name(path)) for path in sources()}

    assert rooms <= placed, f"not placed: {sorted(rooms - placed)}"
