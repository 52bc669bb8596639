"""`python -m trepid`: the command line of the interpreter at hand, where the script is not on the path."""

from trepid.cli.main import main

if __name__ == "__main__":
    main()
