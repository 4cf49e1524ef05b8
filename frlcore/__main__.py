"""`python -m frlcore` is the command `frl`."""

from frlcore.repro.cli import main

if __name__ == "__main__":
    main()
