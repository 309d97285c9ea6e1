"""PROPOSALS: what weighted draws come from, one way to propose in each file."""
