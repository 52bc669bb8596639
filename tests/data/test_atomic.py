"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trepid.data import atomic_write, remove_stale_temporaries, write_bytes_atomic, write_text_atomic
from trepid.data.atomic import append_bytes
from trepid.errors import DataError


def test_text_and_bytes_are_written(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "Å\n")
    write_bytes_atomic(tmp_path / "b.bin", b"\x00\xff")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\x85\n"
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.txt", "b.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_old_file_and_no_temporary(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted() -> None:
        with atomic_write(target) as file:
            file.write("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_failing_disk_is_one_line_and_leaves_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, operation, full)
    with pytest.raises(DataError, match=r"cannot write .*a\.txt: No space left on device"):
        write_text_atomic(target, "new")
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as file:
        file.write("new")
        file.flush()
        assert not target.exists()
    assert target.read_text() == "new"


def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "a.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_text_atomic(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "atomic", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_folder_and_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder .*nowhere does not exist"):
        write_text_atomic(tmp_path / "nowhere" / "a.txt", "x")
    with pytest.raises(DataError, match="it is a folder"):
        write_text_atomic(tmp_path, "x")


def test_other_modes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode must be"), atomic_write(tmp_path / "a", "a"):
        pass


def test_append_adds_and_is_cut_back_when_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "log"
    append_bytes(target, b"one ")
    append_bytes(target, b"two ")
    assert target.read_bytes() == b"one two "

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        append_bytes(target, b"three")
    assert target.read_bytes() == b"one two "


def test_kill_at_any_moment_leaves_a_complete_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    script = (
        "import sys, itertools\n"
        "from trepid.data.atomic import write_text_atomic\n"
        "for n in itertools.count():\n"
        "    write_text_atomic(sys.argv[1], f'{n % 10}' * 200_000)\n"
    )
    for moment in (0.0, 0.013, 0.029, 0.041):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        target.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", script, str(target)], env=environment)
        deadline = time.monotonic() + 60
        while not target.exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        text = target.read_text()
        assert len(text) == 200_000
        assert len(set(text)) == 1
        remove_stale_temporaries(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_stale_temporaries_and_nothing_else_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / ".model.trepid.0123abcd.trepid-tmp"
    for name in (stale.name, ".hidden", "model.trepid", ".model.trepid.0123.trepid-tmp"):
        (tmp_path / name).write_text("")
    assert remove_stale_temporaries(tmp_path) == [stale]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        ".hidden",
        ".model.trepid.0123.trepid-tmp",
        "model.trepid",
    ]


def test_what_need_not_survive_a_power_cut_is_not_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int) -> None:
        raise AssertionError

    monkeypatch.setattr(os, "fsync", refused)
    write_text_atomic(tmp_path / "progress.json", "{}", durable=False)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    assert (tmp_path / "progress.json").read_text() == "{}"
