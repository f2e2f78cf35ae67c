"""`python -m lowtide`: the same as the `lowtide` command, where its tools are installed."""

import runpy

runpy.run_module("lowtide.tools", run_name="__main__")
