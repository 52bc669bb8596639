"""The format metatomic: a Bayesian force field as a TorchScript model, with its live uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trepid.arrays import FloatArray
from trepid.data.atomic import write_bytes_atomic
from trepid.errors import ConfigError
from trepid.export.contract import Exported, ExportFormat

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.potentials.bayesian.spline_potential import SplinePotential

MISSING = "the format metatomic needs PyTorch and metatomic, and {} is not installed: pip install 'trepid[torch]'"


@dataclass(frozen=True)
class MetatomicExport(Exported):
    """A force field for metatomic."""

    potential: SplinePotential

    def write(self, path: str | Path, *, comment: str) -> None:
        """Save the compiled model; `comment` becomes its description."""
        from trepid.torch.metatomic import atomistic_model

        model = atomistic_model(self.potential, name=Path(path).stem, description=comment)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "model.pt"
            model.save(file)
            write_bytes_atomic(path, file.read_bytes())

    def input_text(self, file_name: str, *, notes: Sequence[str]) -> str | None:
        """None: the programs differ; docs/torch.md shows some."""
        return None

    def forces(self, atoms: Atoms) -> FloatArray:
        """Forces of the PyTorch module, (n_atoms, 3), eV/A."""
        from trepid.torch.evaluation import evaluate

        return evaluate(self.potential, atoms).forces.numpy()


class MetatomicFormat(ExportFormat):
    """The model as it is, in float64; see `trepid.torch.metatomic`."""

    name = "metatomic"
    resolution = None
    good_error_eV_per_A = 1e-9
    uncertainty = "its outputs trepid::forces_uncertainty and trepid::support_distance tell how far to trust it"

    def convert(self, potential: SplinePotential, *, resolution: int | None = None) -> MetatomicExport:
        """The force field itself.

        Raises
        ------
        ConfigError
            PyTorch or metatomic is not installed.
        """
        try:
            import_module("trepid.torch.metatomic")
        except ModuleNotFoundError as error:
            raise ConfigError(MISSING.format(error.name)) from None
        return MetatomicExport(potential)


FORMAT = MetatomicFormat()
