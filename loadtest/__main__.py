"""`python -m loadtest`: the experiment."""

import sys

from loadtest.commands.experiment import main

raise SystemExit(main(sys.argv[1:]))
