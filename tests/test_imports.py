"""The import rule: no room knows what is above it or beside it, and there are no circles.

Every module is parsed, none imported; imports inside functions and under ``TYPE_CHECKING`` count like all
others.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ("relic_rl", "envs", "agents", "configs")
FLOORS = (
    ("envs", "relic_rl.losses", "relic_rl.runtime", "configs"),
    ("relic_rl.representation",),
    ("relic_rl.images", "agents"),
    ("relic_rl.evaluation", "relic_rl.comparison"),
    ("doors",),  # the modules directly in relic_rl, and the folders that belong to one of them
)
DOOR_FOLDERS = ("relic_rl.evaluate_kinds",)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
STRANGERS = {  # what a room does not know although it could reach it
    "relic_rl.representation": ("envs", "relic_rl.runtime.config"),
    "envs": ("torch",),
}


def module_name(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_sources(root):
    """{module: source} of everything that ships."""
    paths = [path for top in TOP for path in sorted((root / top).rglob("*.py"))]
    return {module_name(path, root): path.read_text() for path in paths}


def room_of(module):
    """The room of one of our modules; ``relic_rl`` itself, which holds the version, is None."""
    parts = module.split(".")
    if parts[0] != "relic_rl":
        return parts[0]
    if len(parts) == 1:
        return None
    room = ".".join(parts[:2])
    return room if room in FLOOR else "doors"


def imports_of(module, source, modules):
    """Modules that import statements name, relative ones resolved; ``from a import b`` may name a.b."""
    is_package = any(other.startswith(f"{module}.") for other in modules)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield deeper if deeper in modules else base


def import_graph(sources):
    return {name: sorted({*imports_of(name, source, sources)} - {name}) for name, source in sources.items()}


def violations(graph):
    """One line per import that breaks the rule, and one per circle."""
    found = []
    for module, imported in graph.items():
        room = room_of(module)
        for other in imported:
            strangers = STRANGERS.get(room, ())
            if any(other == name or other.startswith(f"{name}.") for name in strangers):
                found.append(f"{module} must not know {other}")
            if other.split(".")[0] not in TOP or room_of(other) in (None, room):
                continue
            other_room = room_of(other)
            if room is None or FLOOR[other_room] > FLOOR[room]:
                found.append(f"{module} imports upwards: {other}")
            elif FLOOR[other_room] == FLOOR[room]:
                found.append(f"{module} imports its neighbour {other}")
    return found + [f"circle: {' -> '.join(circle)}" for circle in circles(graph)]


def circles(graph):
    """One circle per back edge of a depth-first walk."""
    found, done, path = [], set(), []

    def visit(module):
        if module in path:
            found.append([*path[path.index(module) :], module])
            return
        if module in done or module not in graph:
            return
        path.append(module)
        for other in graph[module]:
            visit(other)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)
    return found


def test_the_import_rule_holds():
    sources = read_sources(ROOT)
    assert len(sources) > 40
    assert {room_of(module) for module in sources} >= {None, "envs", "relic_rl.losses", "agents", "doors"}
    graph = import_graph(sources)
    assert "envs.types" in graph["agents.ppo"]
    assert violations(graph) == []


def test_every_room_has_a_floor():
    folders = [path for path in (ROOT / "relic_rl").iterdir() if path.is_dir() and any(path.rglob("*.py"))]
    assert {f"relic_rl.{path.name}" for path in folders} <= {*FLOOR, *DOOR_FOLDERS}


PLANTED = {
    "higher floor": ("envs.toy", "import relic_rl.representation.target", "imports upwards"),
    "door": ("relic_rl.evaluation.play", "from relic_rl.train import main", "imports upwards"),
    "options of a door": ("agents.ppo", "import relic_rl.train_options", "imports upwards"),
    "room by its package": ("agents.ppo", "from relic_rl import evaluation", "imports upwards"),
    "neighbour": ("agents.ppo", "from relic_rl.images import x", "imports its neighbour"),
    "neighbour on the ground": ("relic_rl.losses.relic", "import envs.types", "imports its neighbour"),
    "inside a function": ("envs.make", "def f():\n    from agents import ppo", "imports upwards"),
    "for types only": ("envs.make", "if TYPE_CHECKING:\n    import agents.ppo", "imports upwards"),
    "relative": ("relic_rl.losses.relic", "from ..representation import target", "imports upwards"),
    "by the top package": ("relic_rl", "from relic_rl.runtime import guard", "imports upwards"),
    "environment": ("relic_rl.representation.critic", "import envs.types", "must not know"),
    "torch": ("envs.types", "import torch.nn", "must not know"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_caught(case):
    module, statement, complaint = PLANTED[case]
    sources = read_sources(ROOT) | {"relic_rl.images": "", "relic_rl.evaluation": ""}
    assert module in sources
    before = violations(import_graph(sources))
    sources[module] += f"\n{statement}\n"
    new = [line for line in violations(import_graph(sources)) if line not in before]
    assert any(line.startswith(module) and complaint in line for line in new)


def test_a_planted_circle_is_caught():
    sources = {"agents.a": "import agents.b", "agents.b": "def f():\n    from . import c", "agents.c": ""}
    sources["agents"] = ""
    assert violations(import_graph(sources)) == []
    sources["agents.c"] = "from agents.a import name"
    assert violations(import_graph(sources)) == ["circle: agents.a -> agents.b -> agents.c -> agents.a"]


def test_what_is_allowed_is_not_reported():
    sources = {
        "relic_rl": "",
        "relic_rl.train": "import agents.ppo, envs.make, relic_rl.evaluation.play",
        "relic_rl.evaluate": "from relic_rl import __version__",
        "relic_rl.evaluation.play": "from envs.types import EnvStep\nimport agents.ppo",
        "agents": "",
        "agents.ppo": "import torch\nfrom relic_rl.representation.target import T\nfrom . import rollout",
        "agents.rollout": "import envs.types",
        "relic_rl.representation.target": "import torch",
        "envs.types": "import numpy",
        "envs.make": "from envs.types import EnvStep",
    }
    assert violations(import_graph(sources)) == []
