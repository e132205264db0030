"""The same as `avrec train`, from a checkout: `python train.py --help`."""

import sys

from avrec.cli import main

if __name__ == "__main__":
    sys.exit(main("train"))
