"""Rooms import only what they may, in one direction."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from operate.config import ROOT

# What the modules of a room may import of ours, besides each other: rooms, or single modules of them.
ARROWS = {
    "model": set(),
    "handler": {"model"},
    "train": {"model", "operate.config", "operate.labels"},
    "evaluate": {
        "model",
        "train.mnist",
        "train.samples",
        "train.allographs",
        "train.strokes",
        "train.sheets",
        "operate.client",
        "operate.command",
        "operate.config",
        "operate.labels",
    },
    "operate": {"model"},
    "bench": {"operate"},
}
# What running a service must not load: it would take memory and time.
HEAVY = ("torch", "torchvision", "matplotlib", "openvino")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for room in ARROWS
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.stem != "__init__"
}


def enclosing(module: str) -> set[str]:
    """Return the name of a module and those of the packages that it is in."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def find_imports(path: Path) -> set[str]:
    """Return the names of our modules that a file imports, wherever in it that stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names & FILES.keys()


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = module.partition(".")[0]
    for imported in find_imports(FILES[module]):
        assert enclosing(imported) & {room, *ARROWS[room]}, f"{module} imports {imported}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: find_imports(path) for module, path in FILES.items()}
    assert graph["handler.digit_handler"] >= {"model.recognise", "handler.requests"}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", ARROWS)
def test_each_arrow_is_used(room: str) -> None:
    imported = {name for module, path in FILES.items() if room in enclosing(module) for name in find_imports(path)}
    for arrow in ARROWS[room]:
        assert any(arrow in enclosing(name) for name in imported), f"{room} never imports {arrow}"


def test_no_file_changes_where_modules_come_from() -> None:
    tests = set((ROOT / "tests").rglob("*.py")) - {Path(__file__)}
    for path in [*FILES.values(), *(ROOT / "scripts").iterdir(), *tests]:
        text = path.read_text()
        assert "sys.path" not in text, path
        assert "PYTHONPATH=" not in text, path


# All is imported twice: the second time other packages are loaded already, so each event is an effect of our modules.
# They have no environment then, so that one that reads a variable fails.
IMPORT = """
import importlib, os, sys, threading, warnings
modules = sys.argv[1:]
events = []
for module in modules:
    importlib.import_module(module)
print(sorted(sys.modules))
for module in modules:
    del sys.modules[module]
warnings.resetwarnings()
os.environ.clear()
threads = threading.active_count()
EVENTS = "open", "os.listdir", "os.scandir", "os.mkdir", "os.putenv", "os.unsetenv", "socket.bind", "subprocess.Popen"
sys.addaudithook(lambda event, values: events.append((event, values)) if event in EVENTS else None)
for module in modules:
    importlib.import_module(module)
print([each for each in events if not str(each[1][0]).endswith((".py", ".pyc"))])
print(warnings.filters)
print(threading.active_count() - threads)
mpl = sys.modules.get("matplotlib")
print(mpl is not None and any(mpl.rcParams[name] != mpl.rcParamsDefault[name] for name in ("font.size", "axes.grid")))
"""


def import_modules(*modules: str) -> list[str]:
    """Import modules in a fresh interpreter; return all loaded modules, and the side effects of ours by kind."""
    command = [sys.executable, "-c", IMPORT, *modules]
    importing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert importing.returncode == 0, importing.stderr
    return importing.stdout.splitlines()


@pytest.mark.slow
def test_no_import_has_side_effects() -> None:
    _, events, filters, threads, sets_style = import_modules(*FILES)
    assert (events, filters, threads, sets_style) == ("[]", "[]", "0", "False")


@pytest.mark.slow
def test_running_a_service_loads_nothing_heavy() -> None:
    loaded = ast.literal_eval(import_modules(*(name for name in FILES if name.startswith("operate.")))[0])
    assert "operate.serve" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
    assert "model.digit_net" not in loaded
