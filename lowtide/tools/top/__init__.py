"""`lowtide top`: the ledger of a running server, by route, and its workers."""
