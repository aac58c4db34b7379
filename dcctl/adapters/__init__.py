"""One vendor per file; adapters never import each other or an engine."""
