"""Lets several services write SQLite at once; importing it is enough.

SQLite fails a transaction that read before it writes when another wrote meanwhile, at once and whatever
its time limit ("database is locked"). So the log is written ahead, a writer takes the write lock when its
transaction begins, where the time limit does apply, and a reader begins as before: it needs no lock, and
must not ask for one, because Placement reads while the same thread holds a writer open.
See https://sqlite.org/lang_transaction.html and https://sqlite.org/wal.html.
"""

import sqlite3
from typing import Any

from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import event
from sqlalchemy.engine import Engine

READER = "labcloud_reader"
factory = enginefacade._TransactionFactory
plain_session, plain_connection = factory._create_session, factory._create_connection


def create_session(self: Any, mode: Any, bind: Any = None) -> Any:
    """As oslo.db's; a session that will only read is bound to an engine that says so."""
    if mode is not enginefacade._WRITER and bind is None:
        if not self._started:
            self._start()
        bind = self._writer_engine.execution_options(**{READER: True})
    return plain_session(self, mode, bind)


def create_connection(self: Any, mode: Any) -> Any:
    """As oslo.db's; a connection that will only read says so."""
    connection = plain_connection(self, mode)
    return connection if mode is enginefacade._WRITER else connection.execution_options(**{READER: True})


factory._create_session, factory._create_connection = create_session, create_connection


@event.listens_for(Engine, "connect")
def write_ahead(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def begin_as_writer(
    connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any
) -> tuple[str, Any]:
    """oslo.db emits BEGIN itself, as a statement: this is where it can be made to take the lock."""
    writes = connection.dialect.name == "sqlite" and not connection.get_execution_options().get(READER)
    return ("BEGIN IMMEDIATE" if statement == "BEGIN" and writes else statement), parameters
