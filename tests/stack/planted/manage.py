"""The planted application keeps nothing: there is nothing to migrate and nothing to collect."""
