"""Rare events of trajectories (hops, Frenkel pairs, exchanges), and the shape of sheets: pure functions."""
