"""What atoms do that is more than vibration: analysis of trajectories, as pure functions."""
