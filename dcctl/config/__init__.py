"""The schema of dcctl.yaml and its loader."""
