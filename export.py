"""The same as `avrec export`, from a checkout: `python export.py --help`."""

import sys

from avrec.cli import main

if __name__ == "__main__":
    sys.exit(main("export"))
