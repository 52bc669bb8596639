"""The format of a learning run on disk: ledger, directory, label files, walk files, round files, checkpoint, reading.

Writers (`trepid.campaign`) and readers (`trepid.report`, `trepid status`, `trepid plan`) use these modules only; no file name
and no key of a file is spelled anywhere else.
"""
