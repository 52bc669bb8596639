"""Worker scripts: run by path under the Python of a backend's own environment, where trepid is not installed.

They import one another by plain names (a script's folder is on its path) and otherwise only numpy, ase, torch and the package
that they drive.
"""
