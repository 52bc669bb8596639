"""Learning campaigns: on the fly and in rounds, resumable after a kill at any moment."""
