"""``python -m railkd`` is ``railkd``."""

import sys

from railkd.cli import main

sys.exit(main())
