"""Selection of frames for labels, and calibration of the uncertainty that it rests on: pure functions."""
