"""`python -m meshnode.cli` is `meshctl`."""

from __future__ import annotations

import sys

from meshnode.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
