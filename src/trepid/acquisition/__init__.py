"""Which frames deserve a label, and whether the uncertainty that says so can be believed: pure functions."""
