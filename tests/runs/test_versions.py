from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from trepid.config.reference import ASECalculatorSettings, CHGNetSettings
from trepid.runs.versions import versions_now
from trepid.workers import environments


def test_a_network_in_an_environment_of_its_own_is_asked_there_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that this Python does not have."""
    site = tmp_path / "site"
    (site / "chgnet").mkdir(parents=True)
    (site / "chgnet" / "__init__.py").write_text("raise SystemError('found, not imported')\n")
    (site / "chgnet-7.8.9.dist-info").mkdir()
    (site / "chgnet-7.8.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: chgnet\nVersion: 7.8.9\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("TREPID_CHGNET_PYTHON", str(python))
    environments.installed_version.cache_clear()
    assert versions_now(CHGNetSettings(engine="chgnet"))["chgnet"] == "7.8.9"
    plain = versions_now(ASECalculatorSettings(engine="ase", calculator="emt"))
    assert plain.get("chgnet") != "7.8.9"
    assert plain["numpy"] == version("numpy")
