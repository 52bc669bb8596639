"""The settings file beside a model: written after a fit, and the same fit again from it.

The file holds the sizes as chosen, the start of the optimisation, seed, labels, priors and checksums of the training
files (`trepid.config.fit`). One thread and the same version of trepid give the same model bit by bit.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import yaml

import trepid
from trepid.config import FitSettings, LabelSettings, PotentialSettings, PriorSettings, SizeSearchSettings, TrainingFile
from trepid.data import LabelKeys
from trepid.data.atomic import write_text_atomic
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import Noise, SizeSearch
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.posterior import Bounds
from trepid.potentials.bayesian.terms import Hyperparameters

logger = logging.getLogger(__name__)


def settings_of_fit(
    model: BayesianForceField,
    start: Hyperparameters,
    files: Sequence[tuple[Path, int]],
    *,
    command: str,
    outliers_weigh_less: bool = False,
    weights: Mapping[str, float] | None = None,
) -> FitSettings:
    """Settings of a fit.

    Parameters
    ----------
    model : BayesianForceField
        The trained force field.
    start : Hyperparameters
        With which it was made.
    files : sequence of (Path, int)
        Training files in their order, with the number of frames in each.
    command : str
        Command line, for the reader of the file.
    outliers_weigh_less : bool
        Whether labels that the others contradict had factors on their noise (`trepid.inspection`).
    weights : mapping of str to float, optional
        Weights of the frames by their config_type.

    Raises
    ------
    DataError
        A training file cannot be read.
    """
    basis = model.basis
    values = asdict(start)
    return FitSettings(
        trepid=trepid.__version__,
        command=command,
        train=[TrainingFile(file=path.resolve(), sha256=checksum(path), n_frames=n) for path, n in files],
        species=list(model.species),
        labels=LabelSettings(**asdict(model.keys)),
        outliers_weigh_less=outliers_weigh_less,
        weights=dict(weights or {}),
        potential=PotentialSettings(
            pair_cutoff_A=basis.pair_cutoff,
            triplet_cutoff_A=basis.triplet_cutoff,
            n_pair=basis.n_pair,
            n_radial=basis.n_radial,
            l_max=basis.l_max,
            n_channels=0 if basis.channels is None else basis.channels.n,
            triplets=model.triplets,
            charges=None if basis.charges is None else basis.charges.by_species(basis.species),
        ),
        size_search=None if model.size_search is None else SizeSearchSettings(**asdict(model.size_search)),
        live_rank=model.live_rank,
        seed=model.seed,
        start_noise=values.pop("noise"),
        start=values,
        priors=_priors(),
    )


def write_settings(settings: FitSettings, path: Path) -> None:
    """Write the settings atomically; training files below the folder of `path` get relative names."""
    data = settings.model_dump(mode="json")
    folder = path.resolve().parent
    for entry, training in zip(data["train"], settings.train, strict=True):
        if training.file.is_relative_to(folder):
            entry["file"] = training.file.relative_to(folder).as_posix()
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    write_text_atomic(
        path, f"# Settings of a fit. The same fit again: trepid fit --settings {path.name} -o MODEL\n{text}"
    )


def untrained_model(settings: FitSettings, *, source: Path) -> BayesianForceField:
    """The force field that the settings describe, before its training.

    Parameters
    ----------
    settings : FitSettings
    source : Path
        The file they were read from, for the messages.

    Raises
    ------
    ConfigError
        A size is out of range, a hyperparameter is unknown or missing, or the priors are not those of this version.
    """
    names = {f.name for f in fields(Hyperparameters)} - {"noise"}
    for key, given, known in (
        ("start", settings.start, names),
        ("start_noise", settings.start_noise, {f.name for f in fields(Noise)}),
        ("priors", settings.priors, set(_priors())),
    ):
        if wrong := sorted(set(given) ^ known):
            state = "missing" if wrong[0] in known else "unknown"
            raise ConfigError(f"{source}: {key}.{wrong[0]}: this key is {state}; known are {', '.join(sorted(known))}")
    for name, prior in _priors().items():
        if settings.priors[name] != prior:
            raise ConfigError(
                f"{source}: priors.{name}: the file was written with {_one_line(settings.priors[name])}, trepid "
                f"{trepid.__version__} has {_one_line(prior)}: it would give another model; train a new one without --settings"
            )
    if settings.trepid != trepid.__version__:
        logger.warning(
            "%s was written by trepid %s; this is %s, and the model may differ",
            source,
            settings.trepid,
            trepid.__version__,
        )
    sizes = settings.potential
    return BayesianForceField(
        settings.species,
        pair_cutoff=sizes.pair_cutoff_A,
        triplet_cutoff=sizes.triplet_cutoff_A,
        n_pair=sizes.n_pair,
        n_radial=sizes.n_radial,
        l_max=sizes.l_max,
        n_channels=sizes.n_channels,
        triplets=sizes.triplets,
        charges=sizes.charges,
        hyperparameters=Hyperparameters(noise=Noise(**settings.start_noise), **settings.start),
        live_rank=settings.live_rank,
        keys=LabelKeys(**settings.labels.model_dump()),
        seed=settings.seed,
    )


def search_in(settings: FitSettings) -> SizeSearch | None:
    """The search that gave the sizes of these settings; None without one."""
    return None if settings.size_search is None else SizeSearch(**settings.size_search.model_dump())


def unchanged_files(settings: FitSettings) -> list[Path]:
    """The training files.

    Raises
    ------
    DataError
        A file is missing or not the one that the settings were written for.
    """
    for training in settings.train:
        found = checksum(training.file)
        if found != training.sha256:
            raise DataError(
                f"{training.file} has changed: its checksum is {found[:12]}..., that of the settings "
                f"{training.sha256[:12]}...; train a new model without --settings"
            )
    return [training.file for training in settings.train]


def checksum(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder, hexadecimal; DataError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        for part in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            if part != path:
                digest.update(part.relative_to(path).as_posix().encode() + b"\0")
            with part.open("rb") as file:
                while chunk := file.read(2**20):
                    digest.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def _priors() -> dict[str, PriorSettings]:
    """Ranges and priors of this version, by the name of the hyperparameter."""
    return {
        name: PriorSettings(low=p.low, high=p.high, mode=p.mode, log_std=p.log_std)
        for name, p in Bounds().parameters.items()
    }


def _one_line(prior: PriorSettings) -> str:
    mode = "flat" if prior.mode is None else f"mode {prior.mode:g}, log_std {prior.log_std:g}"
    return f"{prior.low:g} to {prior.high:g}, {mode}"
