"""The command line as `python -m redwood`."""

import sys

from redwood.cli import main

if __name__ == "__main__":
    sys.exit(main())
