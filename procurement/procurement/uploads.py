"""The document service's rows in PostgreSQL: who registered what, and the outbox of the bytes."""

from dataclasses import dataclass

from procurement.database import Connection, fetch_one


@dataclass(frozen=True, slots=True)
class Registered:
    """A document that was registered; ``uploaded`` once its bytes are acknowledged."""

    id: str
    md5: str
    uploaded: bool
    title: str | None
    format: str | None


async def read_document(connection: Connection, id: str) -> Registered | None:
    """The row of a document."""
    row = await fetch_one(
        connection, "SELECT id, md5, uploaded_at IS NOT NULL, title, format FROM document WHERE id = %s", id
    )
    return Registered(*row) if row else None


async def register(connection: Connection, id: str, md5: str, broker: str) -> None:
    """Write a new document that has no bytes yet."""
    await connection.execute("INSERT INTO document (id, md5, broker) VALUES (%s, %s, %s)", (id, md5, broker))


async def intend(
    connection: Connection, id: str, *, site: str, container: str, md5: str, size_bytes: int
) -> int:
    """Write that the bytes are about to go to Swift; the outbox row's number."""
    row = await fetch_one(
        connection,
        "INSERT INTO document_outbox (site, container, name, md5, size_bytes)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING number",
        site,
        container,
        id,
        md5,
        size_bytes,
    )
    assert row is not None  # noqa: S101
    return int(row[0])


async def done(
    connection: Connection,
    row: int,
    id: str,
    *,
    site: str,
    title: str,
    format: str,
    size_bytes: int,
    both: bool = False,
) -> bool:
    """Write that Swift has the bytes; ``both``: the other site's too, nobody has to carry them.

    False: another upload of the same document was first.
    """
    changed = await connection.execute(
        "UPDATE document SET uploaded_at = clock_timestamp(), site = %s, title = %s, format = %s,"
        " size_bytes = %s WHERE id = %s AND uploaded_at IS NULL",
        (site, title, format, size_bytes, id),
    )
    if changed.rowcount == 0:
        return False
    await connection.execute(
        "UPDATE document_outbox SET done = clock_timestamp(),"
        " carried = CASE WHEN %s THEN clock_timestamp() END WHERE number = %s",
        (both, row),
    )
    return True
