from __future__ import annotations

import gzip
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.geometry import find_mic
from ase.io.trajectory import Trajectory as AseTrajectory
from hypothesis import given, settings
from hypothesis import strategies as st

import trepid
from trepid.errors import ConfigError, DataError
from trepid.events.alignment import align_crystal
from trepid.events.analysis import EventAnalysis, EventSettings, analyse_events
from trepid.events.detection import DetectionSettings, EventKind, detect_events
from trepid.events.sites import Sites

DT = 20.0
UNIT = bulk("CuI", "zincblende", a=6.19, cubic=True)
CRYSTAL = UNIT.repeat(2)
SITES = Sites.of(CRYSTAL)
COPPER = [k for k, symbol in enumerate(SITES.species) if symbol == "Cu"]
HOLES = [k for k, kind in enumerate(SITES.kinds) if kind == "empty 4Cu6I"]


def nearest_hole(site: int) -> int:
    return min(HOLES, key=lambda k: (round(SITES.distance(site, k), 3), k))


def synthetic(
    n_frames: int, moves: list[tuple[int, int, int]], *, seed: int = 0, std_A: float = 0.12, breathing: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and cells of a drifting crystal; moves are (frame, atom, site), made within three frames."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(CRYSTAL.positions[None], n_frames, axis=0)
    at = np.arange(len(CRYSTAL))
    for frame, atom, site in moves:
        step = (SITES.positions[site] - SITES.positions[at[atom]]) @ np.linalg.inv(SITES.cell)
        step = (step - np.rint(step)) @ SITES.cell
        part = np.clip((np.arange(n_frames) - frame) / 3.0, 0.0, 1.0)
        centres[:, atom] += part[:, None] * step
        at[atom] = site
    positions = centres + rng.normal(0.0, std_A, centres.shape)
    positions += np.outer(np.arange(n_frames), [0.004, -0.003, 0.002])[:, None]
    scale = 1 + breathing * np.sin(np.arange(n_frames) / 40.0)
    return positions * scale[:, None, None], CRYSTAL.cell.array * scale[:, None, None]


def frames_of(positions: np.ndarray, cells: np.ndarray, *, times: bool = True, crystal: Atoms = CRYSTAL) -> list[Atoms]:
    frames = []
    for k, (r, cell) in enumerate(zip(positions, cells, strict=True)):
        atoms = Atoms(crystal.symbols, positions=r, cell=cell, pbc=True)
        if times:
            atoms.info["time_fs"] = k * DT
        frames.append(atoms)
    return frames


def dump(frames: list[Atoms], path: Path, *, style: str, elements: bool, shuffle: bool = True, box: str = "pp") -> None:
    """A dump of LAMMPS, written here by hand; its atoms come in changing order."""
    rng = np.random.default_rng(1)
    with path.open("w") as file:
        for k, atoms in enumerate(frames):
            size = atoms.cell.lengths()
            origin = np.array([0.3, -1.0, 0.1 * k])
            order = rng.permutation(len(atoms)) if shuffle else np.arange(len(atoms))
            r = atoms.get_scaled_positions(wrap=style == "xs") if style.startswith("xs") else atoms.positions + origin
            if style == "x":
                r = atoms.get_positions(wrap=True) + origin
            file.write(f"ITEM: TIMESTEP\n{500 + 10 * k}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n")
            file.write(f"ITEM: BOX BOUNDS {box} {box} {box}\n")
            file.writelines(f"{low:.10f} {low + length:.10f}\n" for low, length in zip(origin, size, strict=True))
            names = " ".join(axis + style[1:] for axis in "xyz")
            file.write(f"ITEM: ATOMS id {'element' if elements else 'type'} {names}\n")
            for i in order:
                symbol = str(atoms.symbols[i])
                kind = symbol if elements else 1 if symbol == "Cu" else 2
                file.write(f"{i + 1} {kind} {r[i, 0]:.10f} {r[i, 1]:.10f} {r[i, 2]:.10f}\n")


def same(a: EventAnalysis, b: EventAnalysis) -> None:
    assert a.n_frames == b.n_frames
    assert [(e.kind, e.atoms, e.from_sites, e.to_sites, e.start_frame, e.end_frame) for e in a.events] == [
        (e.kind, e.atoms, e.from_sites, e.to_sites, e.start_frame, e.end_frame) for e in b.events
    ]
    assert [e.start_fs for e in a.events] == pytest.approx([e.start_fs for e in b.events])
    assert [f.rate for f in a.classes] == [f.rate for f in b.classes]


MOVES = [
    (50, COPPER[5], nearest_hole(COPPER[5])),
    (120, COPPER[5], COPPER[5]),
    (150, COPPER[9], nearest_hole(COPPER[9])),
]


@pytest.fixture(scope="module")
def trajectory() -> list[Atoms]:
    return frames_of(*synthetic(220, MOVES, breathing=0.01))


@pytest.fixture(scope="module")
def expected(trajectory: list[Atoms]) -> EventAnalysis:
    found = analyse_events(trajectory, CRYSTAL)
    assert [(e.kind, e.atoms) for e in found.events] == [
        (EventKind.FRENKEL, (COPPER[5],)),
        (EventKind.RECOMBINATION, (COPPER[5],)),
        (EventKind.FRENKEL, (COPPER[9],)),
    ]
    return found


# --- formats


@pytest.mark.parametrize("packed", [False, True])
def test_extended_xyz(trajectory, expected, tmp_path, packed) -> None:
    path = tmp_path / "t.extxyz"
    ase.io.write(path, trajectory)
    if packed:
        data = path.read_bytes()
        path = tmp_path / "t.extxyz.gz"
        path.write_bytes(gzip.compress(data))
    same(analyse_events(path, CRYSTAL), expected)


@pytest.mark.parametrize("style", ["x", "xu", "xs", "xsu"])
@pytest.mark.parametrize("elements", [True, False])
def test_lammps_dumps(trajectory, expected, tmp_path, style, elements) -> None:
    path = tmp_path / "dump.lammpstrj"
    dump(trajectory, path, style=style, elements=elements)
    found = analyse_events(path, CRYSTAL, interval_fs=DT)
    same(found, expected)
    assert any("no elements" in remark for remark in found.remarks) is not elements
    if not elements:
        same(analyse_events(path, CRYSTAL, interval_fs=DT, species=("Cu", "I")), expected)


def test_xdatcar_and_ase_trajectory(trajectory, expected, tmp_path) -> None:
    ase.io.write(tmp_path / "t.traj", trajectory)
    same(analyse_events(tmp_path / "t.traj", CRYSTAL), expected)
    order = np.argsort(CRYSTAL.numbers, kind="stable")
    ase.io.write(tmp_path / "XDATCAR", [frame[order] for frame in trajectory], format="vasp-xdatcar")
    found = analyse_events(tmp_path / "XDATCAR", CRYSTAL[order], interval_fs=DT)
    assert [(e.kind, e.start_frame, e.end_frame) for e in found.events] == [
        (e.kind, e.start_frame, e.end_frame) for e in expected.events
    ]
    assert [order[e.atoms[0]] for e in found.events] == [e.atoms[0] for e in expected.events]


def vasprun(frames: list[Atoms], *, ibrion: int = 0, end: bool = True) -> str:
    def rows(table: np.ndarray) -> str:
        return "".join(f"<v> {a:.9f} {b:.9f} {c:.9f} </v>\n" for a, b, c in table)

    names = "".join(f"<rc><c>{s} </c><c>1</c></rc>" for s in frames[0].symbols)
    text = (
        f'<?xml version="1.0"?>\n<modeling>\n<incar><i name="IBRION" type="int">{ibrion}</i>'
        f'<i name="POTIM">{DT}</i></incar>\n<atominfo><array name="atoms"><set>{names}</set></array></atominfo>\n'
        '<structure name="initialpos"><crystal><varray name="basis"><v>1 0 0</v></varray></crystal></structure>\n'
    )
    for frame in frames:
        text += (
            "<calculation>\n<scstep/>\n<structure><crystal>"
            f'<varray name="basis">{rows(frame.cell.array)}</varray></crystal>'
            f'<varray name="positions">{rows(frame.get_scaled_positions())}</varray></structure>\n'
            f'<varray name="forces">{rows(np.zeros((len(frame), 3)))}</varray></calculation>\n'
        )
    return text + ("</modeling>\n" if end else "")


def test_vasprun(trajectory, expected, tmp_path) -> None:
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun(trajectory))
    same(analyse_events(path, CRYSTAL), expected)
    path.write_text(vasprun(trajectory, ibrion=1))
    with pytest.raises(DataError, match="--interval"):
        analyse_events(path, CRYSTAL)
    text = vasprun(trajectory)
    path.write_text(text[: int(0.9 * len(text))])
    cut = analyse_events(path, CRYSTAL)
    assert cut.n_frames < 220
    assert any("cut off" in remark for remark in cut.remarks)
    assert [e.start_frame for e in cut.events] == [e.start_frame for e in expected.events]


def test_triclinic_boxes_of_lammps(tmp_path) -> None:
    primitive = bulk("CuI", "zincblende", a=6.19)
    crystal = primitive.repeat((3, 3, 3))
    sites = Sites.of(crystal)
    copper = crystal.symbols.indices()["Cu"]
    hole = min(range(54, sites.n_sites), key=lambda k: (round(sites.distance(int(copper[4]), k), 3), k))
    n = 120
    positions = np.repeat(crystal.positions[None], n, axis=0)
    step = (sites.positions[hole] - crystal.positions[copper[4]]) @ np.linalg.inv(sites.cell)
    positions[60:, copper[4]] += (step - np.rint(step)) @ sites.cell
    positions += np.random.default_rng(0).normal(0, 0.08, positions.shape)
    # LAMMPS turns a general cell into a lower triangular one.
    _, r = np.linalg.qr(crystal.cell.array.T)
    turned = (r * np.sign(np.diag(r))[:, None]).T
    fractional = positions @ np.linalg.inv(crystal.cell.array)
    path = tmp_path / "t.dump"
    with path.open("w") as file:
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = turned
        for k in range(n):
            low = np.array([1.0, 2.0, 3.0])
            bounds = np.array([[0, lx], [0, ly], [0, lz]]) + low[:, None]
            bounds[0] += [min(0, xy, xz, xy + xz), max(0, xy, xz, xy + xz)]
            bounds[1] += [min(0, yz), max(0, yz)]
            file.write(f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n54\nITEM: BOX BOUNDS xy xz yz pp pp pp\n")
            file.writelines(
                f"{b[0]:.12f} {b[1]:.12f} {tilt:.12f}\n" for b, tilt in zip(bounds, (xy, xz, yz), strict=True)
            )
            file.write("ITEM: ATOMS id element xu yu zu\n")
            r = fractional[k] @ turned + low
            file.writelines(
                f"{i + 1} {s} {x[0]:.9f} {x[1]:.9f} {x[2]:.9f}\n"
                for i, (s, x) in enumerate(zip(crystal.symbols, r, strict=True))
            )
    for given_crystal in (crystal, primitive):
        found = analyse_events(path, given_crystal, interval_fs=DT)
        assert [(e.kind, e.atoms) for e in found.events] == [(EventKind.FRENKEL, (int(copper[4]),))]


# --- streaming


def test_streaming_equals_all_in_memory(trajectory, expected) -> None:
    positions = np.array([frame.positions for frame in trajectory])
    cells = np.array([frame.cell.array for frame in trajectory])
    together = detect_events(positions, SITES, times_fs=DT, cells=cells)
    assert sorted(together, key=lambda e: e.start_fs) == expected.events


def test_frames_one_by_one_and_many_at_once_give_the_same_events_and_the_same_state() -> None:
    from trepid.events.detection import EventDetector

    positions, cells = synthetic(700, MOVES, std_A=0.33)
    one, many = EventDetector(SITES), EventDetector(SITES)
    found_one, found_many = [], []
    for k, (r, cell) in enumerate(zip(positions, cells, strict=True)):
        found_one += one.feed_arrays(r, cell, k * DT)
    for first in range(0, 700, 111):
        part = slice(first, first + 111)
        found_many += many.feed_frames(positions[part], cells[part], np.arange(700)[part] * DT)
    assert found_one == found_many
    assert one.finish() == many.finish()
    for name in ("_core_frame", "_core_time", "_site", "_candidate", "_out"):
        assert np.array_equal(vars(one)[name], vars(many)[name]), name


# --- known hops


@st.composite
def hop_sequences(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Atoms that leave home and come back, or stay, one event after another."""
    moves, frame = [], 40
    away: dict[int, int] = {}
    for _ in range(draw(st.integers(0, 5))):
        frame += draw(st.integers(30, 50))
        # Far from each other: every tenth copper atom, so that no two events share a site.
        atom = COPPER[draw(st.sampled_from([0, 9, 18, 27]))]
        target = atom if atom in away else nearest_hole(atom)
        if atom in away:
            del away[atom]
        elif any(nearest_hole(other) == target for other in away):
            continue
        else:
            away[atom] = target
        moves.append((frame, atom, target))
    return moves


@settings(max_examples=10)
@given(moves=hop_sequences(), seed=st.integers(0, 1000))
def test_random_sequences_of_hops_are_reproduced_exactly(moves, seed) -> None:
    n = 330
    found = analyse_events(frames_of(*synthetic(n, moves, seed=seed)), UNIT)
    wanted = [
        (EventKind.RECOMBINATION if site == atom else EventKind.FRENKEL, (atom,), (site,)) for _, atom, site in moves
    ]
    assert [(e.kind, e.atoms, e.to_sites) for e in found.events] == wanted
    for event, (frame, _, _) in zip(found.events, moves, strict=True):
        assert frame - 1 <= event.start_frame <= frame + 2
        assert frame + 1 <= event.end_frame <= frame + 6
    assert sum(f.rate.n for f in found.classes) == len(moves)
    for each in found.classes:
        assert each.path is not None
        first = each.events[0]
        assert each.path.frames[0] == first.start_frame
        assert each.path.frames[2] == first.end_frame
        ends = np.array([SITES.positions[first.from_sites[0]], SITES.positions[first.to_sites[0]]])
        for point, order in ((each.path.tracks[0, 0], (0, 1)), (each.path.tracks[-1, 0], (1, 0))):
            distances = find_mic(ends - point, SITES.cell)[1]
            assert tuple(np.argsort(distances)) == order


# --- the crystal


@pytest.mark.parametrize(
    ("given_crystal", "told"),
    [
        (UNIT, "repeated to 2 x 2 x 2"),
        (bulk("CuI", "zincblende", a=6.3), "repeated to"),
        (CRYSTAL[np.random.default_rng(4).permutation(64)], "another order"),
    ],
)
def test_primitive_cells_and_other_orders(trajectory, expected, given_crystal, told) -> None:
    found = analyse_events(trajectory, given_crystal)
    assert any(told in remark for remark in found.remarks)
    assert [(e.kind, e.atoms, e.start_frame, e.end_frame) for e in found.events] == [
        (e.kind, e.atoms, e.start_frame, e.end_frame) for e in expected.events
    ]
    assert str(found.classes[0].event_class).split(",")[0] == str(expected.classes[0].event_class).split(",")[0]


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_alignment_undoes_any_order_and_translation(seed) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(64)
    shuffled = CRYSTAL[order]
    frame = shuffled.positions + rng.normal(0, 0.15, (64, 3)) + rng.uniform(-9, 9, 3)
    aligned = align_crystal(CRYSTAL, tuple(shuffled.symbols), frame, shuffled.cell.array, name="t")
    sites = Sites.of(aligned.atoms, empty=False)
    fractional, _ = sites.at_rest(frame[None], shuffled.cell.array)
    assert (sites.nearest(fractional[0])[0] == np.arange(64)).all()
    assert sorted(map(tuple, aligned.atoms.positions.round(6))) == sorted(map(tuple, CRYSTAL.positions.round(6)))


def test_a_general_supercell() -> None:
    primitive = bulk("Cu", "fcc", a=3.6)
    matrix = np.array([[-2, 2, 2], [2, -2, 2], [2, 2, -2]])
    cubic = make_supercell(primitive, matrix)
    rng = np.random.default_rng(0)
    frames = [
        Atoms(
            cubic.symbols,
            positions=cubic.positions + rng.normal(0, 0.05, cubic.positions.shape),
            cell=cubic.cell,
            pbc=True,
        )
        for _ in range(60)
    ]
    found = analyse_events(frames, primitive, interval_fs=DT)
    assert found.sites.n_atoms == 32
    assert found.events == []


# --- what cannot be analysed, each in one line


def test_other_atoms(trajectory) -> None:
    with pytest.raises(DataError, match="another composition"):
        analyse_events(trajectory, bulk("CuCl", "zincblende", a=6.19, cubic=True))
    with pytest.raises(DataError, match="no multiple of it"):
        analyse_events(trajectory, bulk("CuI", "zincblende", a=5.2, cubic=True))
    with pytest.raises(DataError, match="another one, or has melted"):
        analyse_events(trajectory, bulk("CuI", "rocksalt", a=6.19, cubic=True))


def test_atoms_that_change_their_order(trajectory) -> None:
    swapped = [frame.copy() for frame in trajectory]
    order = np.arange(64)
    order[[0, 1]] = [1, 0]
    swapped[7] = swapped[7][order]
    with pytest.raises(DataError, match=r"frame 7 .*atom 0 .*order of the atoms"):
        analyse_events(swapped, CRYSTAL)
    within = np.concatenate([np.roll(COPPER, 1), np.roll([k for k in range(64) if k not in COPPER], 1)])
    order = np.empty(64, dtype=int)
    order[COPPER] = within[:32]
    order[[k for k in range(64) if k not in COPPER]] = within[32:]
    later = trajectory[:100] + [frame[order] for frame in trajectory[100:]]
    for k, frame in enumerate(later):
        frame.info["time_fs"] = k * DT
    with pytest.raises(DataError, match="frame 100 .*have left their sites since the frame before"):
        analyse_events(later, CRYSTAL)


def test_times(trajectory, tmp_path) -> None:
    bare = frames_of(*synthetic(30, []), times=False)
    with pytest.raises(DataError, match="--interval"):
        analyse_events(bare, CRYSTAL)
    dump(bare, tmp_path / "d", style="x", elements=True)
    with pytest.raises(DataError, match="MD steps and no times.*--interval"):
        analyse_events(tmp_path / "d", CRYSTAL)
    with pytest.raises(ConfigError, match="positive"):
        analyse_events(bare, CRYSTAL, interval_fs=0.0)
    with pytest.raises(DataError, match="5000 fs apart"):
        analyse_events(bare, CRYSTAL, interval_fs=5000.0)
    coarse = analyse_events(bare, CRYSTAL, interval_fs=300.0)
    assert any("lower bounds" in remark for remark in coarse.remarks)
    other = analyse_events(trajectory, CRYSTAL, interval_fs=10.0)
    assert any("which is used" in remark for remark in other.remarks)
    assert other.duration_ps == pytest.approx(219 * 10.0 / 1000)
    with pytest.raises(DataError, match="time goes back"):
        analyse_events(trajectory[:20] + trajectory[10:30], CRYSTAL)
    for frame in (twice := [f.copy() for f in trajectory])[:11]:
        assert frame is not None
    repeated = analyse_events([*twice[:11], twice[10], *twice[11:]], CRYSTAL)
    assert any("1 repeated frames" in remark for remark in repeated.remarks)


def test_too_short(trajectory) -> None:
    with pytest.raises(DataError, match="1 frame"):
        analyse_events(trajectory[:1], CRYSTAL)
    with pytest.raises(DataError, match="two dwell times"):
        analyse_events(trajectory[:15], CRYSTAL)
    with pytest.raises(DataError, match="nothing is left"):
        analyse_events(trajectory, CRYSTAL, settings=EventSettings(equilibrate_ps=10.0))


@pytest.mark.parametrize("form", ["extxyz", "gz", "dump", "XDATCAR", "traj"])
def test_a_file_cut_off_is_read_up_to_its_last_frame(trajectory, expected, tmp_path, form) -> None:
    order = np.argsort(CRYSTAL.numbers, kind="stable") if form == "XDATCAR" else np.arange(64)
    path = tmp_path / {"dump": "dump", "XDATCAR": "XDATCAR"}.get(form, f"t.{form}")
    if form == "dump":
        dump(trajectory, path, style="xu", elements=True)
    elif form == "gz":
        ase.io.write(tmp_path / "t.extxyz", trajectory)
        path.write_bytes(gzip.compress((tmp_path / "t.extxyz").read_bytes()))
    else:
        ase.io.write(path, [frame[order] for frame in trajectory], format="vasp-xdatcar" if form == "XDATCAR" else None)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.93 * len(data))])
    if form == "traj":
        # The index of an ASE trajectory is at its end: a copy without it cannot be opened, one that a kill left can.
        with AseTrajectory(tmp_path / "killed.traj", "w") as file:
            for frame in trajectory:
                file.write(frame)
        data = (tmp_path / "killed.traj").read_bytes()
        path = tmp_path / "killed.traj"
        path.write_bytes(data + b"\0" * 100)
        same(analyse_events(path, CRYSTAL), expected)
        return
    found = analyse_events(path, CRYSTAL[order], interval_fs=DT)
    assert 195 < found.n_frames < 220
    assert any("cut off within frame" in remark for remark in found.remarks)
    assert [(e.kind, e.start_frame) for e in found.events] == [(e.kind, e.start_frame) for e in expected.events]


def test_garbage_in_the_middle_names_its_place(trajectory, tmp_path) -> None:
    path = tmp_path / "t.extxyz"
    ase.io.write(path, trajectory[:40])
    lines = path.read_text().splitlines(keepends=True)
    lines[66 * 10 + 5] = "Cu 1.0 2.0\n"
    path.write_text("".join(lines))
    with pytest.raises(DataError, match="frame 10 "):
        analyse_events(path, CRYSTAL)
    lines[66 * 10 + 5] = "Cu 1.0 2.0 nonsense\n"
    path.write_text("".join(lines))
    with pytest.raises(DataError, match="frame 10 "):
        analyse_events(path, CRYSTAL)


def test_atoms_displaced_from_the_beginning_are_no_events(trajectory) -> None:
    later = trajectory[160:]
    found = analyse_events(later, CRYSTAL)
    assert found.events == []
    assert found.displaced_at_start == 1
    assert any("from the first frame on" in remark for remark in found.remarks)


def test_events_of_the_equilibration_are_found_and_not_counted(trajectory, expected) -> None:
    found = analyse_events(trajectory, CRYSTAL, settings=EventSettings(equilibrate_ps=2.0))
    assert found.events == expected.events
    assert sum(f.rate.n for f in found.classes) == 2
    assert found.counted_ps == pytest.approx(found.duration_ps - 2.0)


# --- sigma^A, and the public face


def test_sigma_a_of_harmonic_forces_jumps_with_an_event() -> None:
    from trepid.anharmonicity.harmonic import HarmonicReference

    n = len(CRYSTAL)
    # Springs to the mean position: force constants that obey the acoustic sum rule.
    phi = np.einsum("ij,ab->ijab", np.eye(n) - 1.0 / n, np.eye(3)) * 2.0
    harmonic = HarmonicReference(CRYSTAL, phi)
    positions, cells = synthetic(800, [(400, COPPER[5], nearest_hole(COPPER[5]))])
    frames = frames_of(positions, cells)
    rng = np.random.default_rng(2)
    for k, frame in enumerate(frames):
        u = harmonic.displacements(frame, check_order=False)
        forces = harmonic.forces_at(u)
        if k >= 403:
            # At its new site the atom is held as at home, not pulled back.
            forces[COPPER[5]] = rng.normal(0, 0.2, 3)
        frame.arrays["forces"] = forces
    found = trepid.find_events(frames, CRYSTAL, harmonic=harmonic)
    assert found.sigma_a is not None
    assert np.abs(found.sigma_a.values[:400]).max() < 1e-6
    assert [abs(found.sigma_a.times_ps[j.index] - 8.06) < 0.1 for j in found.sigma_a.jumps] == [True]
    none = trepid.find_events(frames_of(positions, cells), CRYSTAL, harmonic=harmonic)
    assert none.sigma_a is None
    assert any("sigma^A needs them" in remark for remark in none.remarks)


def test_find_events_takes_files(trajectory, expected, tmp_path) -> None:
    ase.io.write(tmp_path / "t.extxyz", trajectory)
    ase.io.write(tmp_path / "unit.extxyz", UNIT)
    found = trepid.find_events(str(tmp_path / "t.extxyz"), tmp_path / "unit.extxyz")
    same(found, expected)
    assert "frenkel Cu" in repr(found)
    quiet = trepid.find_events(
        tmp_path / "t.extxyz", UNIT, settings=EventSettings(detection=DetectionSettings(excursion_fraction=None))
    )
    same(quiet, expected)
