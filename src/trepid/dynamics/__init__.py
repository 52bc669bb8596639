"""Molecular dynamics on a potential: drivers that resume exactly, the trust guard, and the run behind `trepid md`."""
