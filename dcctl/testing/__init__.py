"""In-memory ports, one contract suite per port; shipped."""
