from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trepid

SOURCE = Path(trepid.__file__).parent
FLOORS = (
    ("__main__",),
    ("cli",),
    ("api", "screening"),
    ("report", "campaign", "testing"),
    ("audit",),
    ("labelling", "verdict"),
    ("runs", "analysis", "phonons", "transport"),
    ("dynamics", "evaluation", "export", "events", "inspection"),
    ("anharmonicity", "torch"),
    ("potentials", "reference", "execution"),
    ("lammps", "workers"),
    ("data", "config"),
    ("acquisition", "signals"),
    ("errors", "arrays", "choices", "quantities", "processes", "_native"),
)
HEIGHT = {room: -floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def rooms_used(path: Path) -> set[str]:
    used = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        used |= {name.split(".")[1] for name in names if name.startswith("trepid.")}
    return used


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_there_is_a_house() -> None:
    assert len(FILES) > 30
    assert {room_of(path) for path in FILES} == set(HEIGHT) - {"_native"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_go_down(path: Path) -> None:
    room = room_of(path)
    for used in rooms_used(path) - {room}:
        assert HEIGHT[used] < HEIGHT[room], f"{room} must not use {used}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_file_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} has no docstring"


def files_used(path: Path) -> set[Path]:
    """Files whose names this one imports when it runs, inside functions too; not those it imports for annotations only."""
    used = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "trepid":
                continue
            for end in (len(parts), len(parts) - 1):
                file = SOURCE.joinpath(*parts[1:end])
                found = [f for f in (file.with_suffix(".py"), file / "__init__.py") if f.is_file()]
                if found:
                    used.add(found[0])
                    break
    return used - {SOURCE / "__init__.py"}


def test_files_import_in_no_circle() -> None:
    unsorted = {path: files_used(path) for path in FILES}
    while free := [path for path, used in unsorted.items() if not used & unsorted.keys()]:
        for path in free:
            del unsorted[path]
    assert not unsorted, f"these files import each other, or lie above a circle: {sorted(map(str, unsorted))}"
