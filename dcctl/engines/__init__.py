"""Observe, decide, yield steps: over ports only."""
