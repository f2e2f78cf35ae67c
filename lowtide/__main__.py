"""`python -m lowtide` is the same as the command `lowtide`, where the tools are installed."""

import runpy

runpy.run_module("lowtide.tools", run_name="__main__")
