"""`python -m lowtide.tools`: the same as the `lowtide` command."""

import sys

from lowtide.tools.cli import main

sys.exit(main())
