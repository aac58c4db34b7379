"""The lab: two clouds and a witness on one Linux host, with real parts (docs/explanation/lab.md)."""
