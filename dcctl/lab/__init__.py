"""Drives the two clouds on one machine (docs/explanation/lab.md)."""
