"""The composition root: which adapter keeps which port, by what the configuration says."""
