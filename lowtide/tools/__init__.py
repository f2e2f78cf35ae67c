"""Tools for developers and operators: check, size, diagnose, top. The runtime never imports them."""
