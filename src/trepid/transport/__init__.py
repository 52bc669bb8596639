"""Thermal conductivity by Green and Kubo: simulations in LAMMPS with the exact heat flux, estimates with error bars."""
