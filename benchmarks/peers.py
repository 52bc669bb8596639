"""trepid and its peers, trained on the same frames, each in an environment of its own, measured in one run.

    peers.py list                          peers, their environments, frames found and missing
    peers.py install [NAME ...]            make the environments (peers/.venvs)
    peers.py run [NAME ...]                train, predict the test frames, judge
    peers.py time [NAME ...]               time energies and forces of all in turn
    peers.py table                         print the table, write results/peers.md and results/peers.json

`--data DIR` names the folder of the frames, `--set NAME` (repeatable) takes only some. Results of one peer and one set lie in
peers/runs/SET/PEER; what is there already is not computed again unless frames or settings have changed, so a run that was
stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from _common import HERE, RESULTS, processor  # first: it sets one thread, before BLAS is loaded

# isort: split

from _peer_catalogue import FOLDER, Peer, install, peers_named
from _peer_figures import judge, markdown_table, row_of
from _peer_sets import SETS, PeerSet, labelled, missing_files, peer_sets

from trepid.data import write_frames
from trepid.data.atomic import write_text_atomic
from trepid.errors import TrepidError

RUNS = FOLDER / "runs"
ROUNDS = 2
LOG_LINES = 3
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}


class WorkerFailed(Exception):  # noqa: N818 (names what happened)
    """A worker ended with an error."""


def folder_of(peer_set: PeerSet, peer: Peer) -> Path:
    return RUNS / peer_set.name / peer.name.replace(" ", "-").lower()


def write_inputs(peer_set: PeerSet, peer: Peer) -> str:
    """Write what the worker reads; gives a digest of frames and settings."""
    folder = folder_of(peer_set, peer)
    folder.mkdir(parents=True, exist_ok=True)
    job = {"species": list(peer_set.species), "seed": 0, "settings": dict(peer.settings)}
    write_text_atomic(folder / "job.json", json.dumps(job, indent=1) + "\n")
    files = {
        "train": labelled(peer_set.train),
        "moving": peer_set.moving(),
        **{f"test-{stratum_file(stratum)}": labelled(frames) for stratum, frames in peer_set.tests.items()},
    }
    digest = hashlib.sha256((folder / "job.json").read_bytes())
    for name, frames in files.items():
        path = folder / f"{name}.extxyz"
        path.unlink(missing_ok=True)
        write_frames(path, frames)
        if name != "moving":
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def stratum_file(stratum: str) -> str:
    return stratum.replace(" ", "_")


def call(peer: Peer, folder: Path, verb: str) -> tuple[float, float]:
    """Run the worker of a peer; CPU and wall seconds of the whole process and its children.

    Raises
    ------
    WorkerFailed
        It ended with an error; the message holds the last lines of its log.
    """
    log = folder / f"{verb}.log"
    command = [str(peer.python), str(FOLDER / peer.worker), verb]
    start = time.perf_counter()
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **ONE_THREAD}, stdout=stream, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LOG_LINES:]
        raise WorkerFailed(f"{verb} ended with {process.returncode}: {' | '.join(tail)} (log: {log})")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start


def run_one(peer_set: PeerSet, peer: Peer, *, again: bool) -> None:
    """Train, predict, judge and write result.json, unless it is there for these frames and settings and not wanted again."""
    folder = folder_of(peer_set, peer)
    result, digest, version = folder / "result.json", write_inputs(peer_set, peer), peer.version()
    if result.exists() and not again:
        known = json.loads(result.read_text(encoding="utf-8"))
        if known["digest"] == digest and known["version"] == version:
            print(f"{peer_set.name}, {peer.name}: known", flush=True)
            return
    print(f"{peer_set.name}, {peer.name}: training", flush=True)
    for name in ("report.json", "times.json", "timings.json"):
        (folder / name).unlink(missing_ok=True)
    fit_cpu, fit_wall = call(peer, folder, "fit")
    print(f"{peer_set.name}, {peer.name}: {fit_cpu:.1f} CPU s; predicting", flush=True)
    predict_cpu, _ = call(peer, folder, "predict")
    report = folder / "report.json"
    content = {
        "set": peer_set.name,
        "peer": peer.name,
        "version": version,
        "digest": digest,
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "n_train": len(peer_set.train),
        "fit_cpu_s": fit_cpu,
        "fit_wall_s": fit_wall,
        "predict_cpu_s": predict_cpu,
        "report": json.loads(report.read_text(encoding="utf-8")) if report.exists() else {},
        "tests": {
            stratum: judge(frames, folder / f"predicted-{stratum_file(stratum)}.npz").as_dict()
            for stratum, frames in peer_set.tests.items()
        },
    }
    write_text_atomic(result, json.dumps(content, indent=1) + "\n")
    for stratum, figures in content["tests"].items():
        print(f"    {stratum}: {figures['force_rmse_percent']:.2f} % of the rms force", flush=True)


def time_one(peer_set: PeerSet, peer: Peer) -> None:
    """Add one timing to timings.json of a trained peer."""
    folder = folder_of(peer_set, peer)
    if not (folder / "result.json").exists():
        print(f"{peer_set.name}, {peer.name}: not trained, not timed", flush=True)
        return
    call(peer, folder, "time")
    measured = json.loads((folder / "times.json").read_text(encoding="utf-8"))
    measured["at"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    path = folder / "timings.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    write_text_atomic(path, json.dumps([*known, measured], indent=1) + "\n")
    print(f"{peer_set.name}, {peer.name}: {min(measured['us_per_atom']):.3g} us/atom", flush=True)


def each(sets: Sequence[PeerSet], peers: Sequence[Peer], what: Callable[[PeerSet, Peer], None]) -> bool:
    """Call `what` for all; a peer that fails is told and does not stop the others. Gives whether all went well."""
    good = True
    for peer in peers:
        if not peer.installed:
            print(f"{peer.name}: not installed; run peers.py install", flush=True)
            good = False
            continue
        for peer_set in sets:
            try:
                what(peer_set, peer)
            except WorkerFailed as error:
                print(f"{peer_set.name}, {peer.name}: {error}", flush=True)
                good = False
    return good


def table(sets: Sequence[PeerSet], peers: Sequence[Peer]) -> None:
    """All results so far, as Markdown."""
    rows, results, versions = [], [], {}
    for peer_set in sets:
        found = []
        for peer in peers:
            path = folder_of(peer_set, peer) / "result.json"
            if not path.exists():
                continue
            result = json.loads(path.read_text(encoding="utf-8"))
            timings = folder_of(peer_set, peer) / "timings.json"
            result["timings"] = json.loads(timings.read_text(encoding="utf-8")) if timings.exists() else []
            found.append((peer, result))
            results.append(result)
            versions[peer.name] = result["version"]
        for k, stratum in enumerate(peer_set.tests):
            for peer, result in found:
                calls = [us for timing in result["timings"] for us in timing["us_per_atom"]]
                fit, us = (result["fit_cpu_s"], min(calls) if calls else None) if k == 0 else (None, None)
                rows.append(row_of(f"{peer_set.name}, {stratum}", peer.name, result["tests"].get(stratum), fit, us))
    if not rows:
        raise SystemExit("no results yet: peers.py run")
    text = markdown_table(rows) + "\n"
    text += "".join(f"- {p.name} ({p.package} {versions[p.name]}): {p.words}.\n" for p in peers if p.name in versions)
    RESULTS.mkdir(exist_ok=True)
    write_text_atomic(RESULTS / "peers.md", text)
    content = {"processor": processor(), "results": results}
    write_text_atomic(RESULTS / "peers.json", json.dumps(content, indent=1) + "\n")
    print(text)
    print(f"written to {RESULTS / 'peers.md'} and {RESULTS / 'peers.json'}")


def show(sets: Sequence[PeerSet], peers: Sequence[Peer], data: Path) -> None:
    """Peers and frames."""
    for peer in peers:
        state = peer.version() if peer.installed else "not installed"
        print(f"{peer.name:12} {peer.package} {state}: {peer.words}")
    words = {known.name: f"{known.what}; {known.split_in_words}" for known in SETS}
    for peer_set in sets:
        sizes = ", ".join(f"{len(frames)} {stratum}" for stratum, frames in peer_set.tests.items())
        print(
            f"{peer_set.name:12} {len(peer_set.train)} for training, {sizes}; {words.get(peer_set.name, 'own frames')}"
        )
    tell_missing(data)


def tell_missing(data: Path) -> None:
    for known in missing_files(data):
        print(f"{known.name}: {data / known.file} is missing ({known.what}); its rows are left out")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=("list", "install", "run", "time", "table"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="peers; all if none is named")
    parser.add_argument("--data", type=Path, default=HERE.parent / "tests" / "data_files", help="folder of the frames")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="frames to take; repeatable")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of `time`, each over all peers")
    parser.add_argument("--again", action="store_true", help="`run`: also what is known, say after a change of trepid")
    options = parser.parse_args()
    peers = peers_named(options.names)
    if options.verb == "install":
        for peer in peers:
            install(peer)
            print(f"{peer.name}: {peer.package} {peer.version()}", flush=True)
        return
    try:
        found = peer_sets(options.data)
    except TrepidError as error:
        raise SystemExit(str(error)) from error
    if unknown := set(options.sets) - {s.name for s in found}:
        raise SystemExit(
            f"no frames for {', '.join(sorted(unknown))} in {options.data}; found {[s.name for s in found]}"
        )
    sets = [s for s in found if not options.sets or s.name in options.sets]
    if options.verb == "list":
        show(sets, peers, options.data)
        return
    tell_missing(options.data)
    if not sets:
        raise SystemExit(f"no frames in {options.data}: see benchmarks/README.md for the names of the files")
    good = True
    if options.verb == "run":
        good = each(sets, peers, partial(run_one, again=options.again))
    elif options.verb == "time":
        for _ in range(options.rounds):
            good = each(sets, peers, time_one) and good
    else:
        table(sets, peers)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
