"""The same as `avrec evaluate`, from a checkout: `python evaluate.py --help`."""

import sys

from avrec.cli import main

if __name__ == "__main__":
    sys.exit(main("evaluate"))
