"""The command line: one file per verb. A verb imports what it needs when it runs, so that `trepid --help` is fast."""
