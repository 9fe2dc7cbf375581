"""`python -m agents.cli` is `conclave`."""

import sys

from agents.cli.main import main

sys.exit(main())
