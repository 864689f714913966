"""Tests of import directions, as drawn in docs/architecture.md."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = (
    (
        *("obscale.clock", "obscale.errors", "obscale.events", "obscale.language"),
        *("obscale.sizes", "obscale.text"),
    ),
    ("obscale.pictures", "obscale.agent"),
    (
        *("obscale.reading", "obscale.cleaning", "obscale.maintenance_lock"),
        *("obscale.scale_out_dag", "obscale.scale_in_dag"),
    ),
    ("obscale.request",),
    ("obscale.connect", "obscale.conformity"),
    ("obscale.follow",),
    ("obscale.preflight",),
    ("obscale.spec",),
    ("obscale.submit", "obscale.verify"),
    ("obscale.recovery", "obscale.removal", "obscale.replacement", "obscale.use", "obscale.pin"),
    ("obscale.report",),
    ("obscale.plan",),
    ("obscale.batch",),
    ("obscale.tasks",),
    ("obscale.flows",),
    ("obscale.rehearse",),
    ("obscale.cli", "obscale.deployments"),
)
"""From the ground up: a room may import those of the floors below it, and its neighbours."""
APART = {"obscale.sandbox": {"obscale.rehearse", "obscale.cli"}}
"""Stands beside the floors: imports none of them, and is imported only by these."""
PREFECT_DOORS = {"obscale.tasks", "obscale.flows", "obscale.cli", "obscale.deployments"}
NAMES_ALL = "obscale.events"
"""Names, for type checkers alone, the types of all rooms that tell something."""
ACTS = {
    "obscale.preflight": {"read", "run", "settle", "clocks", "port_probe"},
    "obscale.verify": {"read", "run"},
    "obscale.recovery": {"find", "read", "read_interrupted", "run"},
    "obscale.removal": {"act", "find", "follow", "look", "prove", "read", "run"},
    "obscale.replacement": {"read"},
    "obscale.submit": {"post", "read", "result", "run", "settle", "waits"},
    "obscale.follow": {"run", "local_dag"},
    "obscale.conformity": {"run"},
    "obscale.pin": {"run"},
    "obscale.use": {"follow", "read", "run", "verify"},
    "obscale.report": set(),
    "obscale.request": set(),
    "obscale.spec": set(),
}
"""Of the rooms that decide, the files that may wait for agents; all others are pure functions."""


def room_of(module: str) -> str:
    """`obscale.agent.client` lives in the room `obscale.agent`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "obscale" else parts[0]


def imports_of(path: Path) -> set[str]:
    """Give what a file imports, by full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imports_for_types(path: Path) -> set[str]:
    """Give what a file imports below `if TYPE_CHECKING:`, so never when it runs."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for each in node.body:
                assert isinstance(each, ast.ImportFrom)
                found |= {f"{each.module}.{alias.name}" for alias in each.names}
    return found


def sources() -> dict[str, Path]:
    """Give every module of the product with its file."""
    paths = [
        p
        for top in ("obscale", "flows", "tasks", "deployments")
        for p in (ROOT / top).rglob("*.py")
    ]
    return {module_name(path): path for path in sorted(paths)}


def module_name(path: Path) -> str:
    """Give the name by which a file is imported."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name if name.startswith("obscale") else f"obscale.{name}"


def test_imports_point_down():
    """No room imports from a floor above its own, and only doors know Prefect."""
    floor = {name: number for number, rooms in enumerate(FLOORS) for name in rooms}
    wrong = []
    for module, path in sources().items():
        room = room_of(module)
        for target in imports_of(path):
            other = room_of(target)
            if room in {other, "obscale"}:
                continue
            if target.split(".")[0] == "prefect":
                allowed = room in PREFECT_DOORS
            elif other in APART:
                allowed = room in APART[other]
            elif module == NAMES_ALL and other in floor:
                allowed = target in imports_for_types(path)
            else:
                allowed = other not in floor or (room not in APART and floor[other] <= floor[room])
            if not allowed:
                wrong.append(f"{module} imports {target}")

    assert not wrong


def test_what_decides_waits_for_nobody():
    """A decision is a pure function: only the named files of a room may hold `async def`."""
    modules = sources()
    waiting = {
        module
        for module, path in modules.items()
        if any(isinstance(n, ast.AsyncFunctionDef) for n in ast.walk(ast.parse(path.read_text())))
    }
    wrong = [
        module
        for module in waiting
        if (allowed := ACTS.get(room_of(module))) is not None
        and module.removeprefix(room_of(module) + ".") not in allowed
    ]

    assert not wrong
    assert {f"{room}.{file}" for room, files in ACTS.items() for file in files} <= waiting


def test_every_room_has_its_floor():
    """A new room must be given its floor here before it can be merged."""
    placed = {name for rooms in FLOORS for name in rooms} | set(APART) | {"obscale"}
    rooms = {room_of(module) for module in sources()}

    assert rooms <= placed


def test_the_map_shows_every_folder_and_nothing_that_is_not_there():
    """docs/architecture.md: each folder of the product has its line, and each path it names is."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    lines = set(re.findall(r"^\| `([\w/]+)/`", page, re.MULTILINE))
    parts = {"obscale/agent", "obscale/sandbox"}
    folders = {
        str(path.parent.relative_to(ROOT))
        for top in ("obscale", "flows", "tasks", "deployments")
        for path in (ROOT / top).rglob("__init__.py")
    } - {"obscale"}
    inner = {f for f in folders if any(f.startswith(f"{part}/") for part in parts)}
    inner |= {"obscale/preflight/rules", "obscale/verify/proofs", "obscale/removal/rules"}
    named = set(
        re.findall(r"`((?:obscale|flows|tasks|deployments|tests|benchmarks)/[\w./]*)`", page)
    )

    assert lines >= folders - inner
    assert not {path for path in named if not (ROOT / path).exists()}
