"""`lowtide diagnose`: says whether memory that grows is a leak, memory that is kept but not needed, a cache, or DEBUG.

`command` reads the arguments. `run` starts `measure` in processes of its own, which sends requests (`request`,
`rounds`) and measures (`allocator`, `holder`). `verdict` judges the figures, `text` and `picture` show the result.
`running` looks at a process that is already running instead.
"""
