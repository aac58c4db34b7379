"""PostgreSQL asked directly: the epochs that it checks, and a row that proves it takes writes."""
