"""``python -m moco_transfer``."""

import sys

from moco_transfer.cli import main

sys.exit(main())
