"""`python -m trainerlib` is the command `trainerlib`."""

import sys

from trainerlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
