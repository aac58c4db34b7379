"""The in-memory document store passes the contract that real Swift passes (tests/swift)."""

from dcctl.testing.contracts.documents import Body, DocumentStoreContract, run
from dcctl.testing.documents import MemoryStore, VirtualTime


class TestMemoryStore(DocumentStoreContract):
    def with_store(self, body: Body) -> None:
        run(body(MemoryStore("east", VirtualTime()), "docs"))
