"""`lowtide size`: computes, from measured memory, the settings that keep a server below its limit, with reasons."""
