"""Learning campaigns: the on-the-fly loop, and the records that make it survive a kill at any moment."""
