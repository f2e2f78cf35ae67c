"""The planted application has no database and no static files, so there is nothing to migrate or to collect."""
