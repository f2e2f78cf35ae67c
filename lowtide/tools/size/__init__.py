"""`lowtide size`: from measured memory to the settings that keep a server below its limit, each with its reason."""
