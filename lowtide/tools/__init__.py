"""What an operator runs at a desk: check, size, diagnose. Not in the production image, and never imported by it."""
