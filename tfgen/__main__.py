"""`python -m tfgen` is `tfgen`."""

import sys

from tfgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
