"""`python -m tfgen.cli` is `tfgen`."""

import sys

from tfgen.cli import main

sys.exit(main())
