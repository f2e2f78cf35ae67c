"""`lowtide diagnose`: is it a leak, memory that the process keeps but does not need, or DEBUG?

The order of work, one module each: `command` reads the arguments, `run` starts the measuring in processes of their own
(`measure`, which sends the requests with `request` and reads `allocator` and `holder`), `verdict` judges what they
measured, `text` and `picture` show it. `running` looks at a live process instead.
"""
