"""The command line: one file per verb. Imports wait until a verb runs, so that `trepid --help` is instant."""
