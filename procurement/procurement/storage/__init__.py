"""Where the bytes of documents are: one small port, Swift behind it, and memory for tests."""
