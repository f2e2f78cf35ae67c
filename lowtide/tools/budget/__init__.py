"""Memory budgets for tests: a pytest plugin, and the measurement behind it."""
