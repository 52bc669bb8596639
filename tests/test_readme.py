"""The Python block of the README, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ase.io import write

from trepid.data import read_frames

README = Path(__file__).parents[1] / "README.md"


def test_the_python_block_of_the_readme_runs(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    frames = read_frames(data_dir / "cui_gfn1_64.extxyz")
    write(tmp_path / "train.extxyz", frames[:4])
    write(tmp_path / "new.extxyz", frames[4:5])
    write(tmp_path / "test.extxyz", frames[5:7])
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    assert Path("cui.trepid").is_file()
    assert len(Path("md/trace.csv").read_text(encoding="utf-8").splitlines()) > 10
    *_, rmse, energy = capsys.readouterr().out.split()
    assert 0 < float(rmse) < 0.1
    assert float(energy) < 0
    assert repr(names["model"]).endswith(" eV/A>")
