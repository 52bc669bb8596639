"""What a committee file may run: nothing that it names itself, unless the user says so."""

from __future__ import annotations

import logging
from dataclasses import replace

from trepid.errors import UntrustedFileError
from trepid.potentials.committee.settings import PACKAGES, CommitteeSettings, Programs
from trepid.workers.environments import find_python, variable

logger = logging.getLogger(__name__)


def allowed_settings(
    settings: CommitteeSettings, *, name: str, trust: bool, programs: Programs | None
) -> CommitteeSettings:
    """The settings of the committee file `name` with the programs that may run; parameters and errors of `Committee.load`."""
    assert settings.model is not None
    named = Programs.of(settings.model)
    if programs is None:
        if trust:
            return settings
        if named.script is not None or named.foundation_model is not None:
            raise UntrustedFileError(
                f"{name} names code to run, which was not run: {named}. If you trust this file, give --trust (in Python: "
                "trust=True)"
            )
        programs = Programs()
        if named.python is not None:
            package = PACKAGES[settings.backend]
            own = find_python(package)
            if own != named.python:
                logger.warning(
                    "%s names the interpreter %s, which is not used without --trust; %s",
                    name,
                    named.python,
                    f"{own} is" if own is not None else f"{variable(package)} can name yours",
                )
    return replace(settings, model=programs.in_settings(settings.model))
