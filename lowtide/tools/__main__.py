"""`python -m lowtide.tools` is the same as the command `lowtide`."""

import sys

from lowtide.tools.cli import main

sys.exit(main())
