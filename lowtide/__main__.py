"""`python -m lowtide`: the same as the `lowtide` command."""

import sys

from lowtide.cli import main

sys.exit(main())
