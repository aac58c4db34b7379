"""The lab's own environment with everything deployed, and what a buyer does with it."""

import contextlib
import ctypes
import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from procurement_world import organization, tender

from dcctl import wiring
from dcctl.config.load import load
from dcctl.config.reference import resolve
from dcctl.domain.leadership import Term
from dcctl.network_namespace import CLONE_NEWNET, enter
from dcctl.ports import Leases

API = "/api/2.5/tenders"
BOUNDARY = "----document"


@contextlib.contextmanager
def joined(namespace: str) -> Iterator[None]:
    """This thread in a network namespace, and back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
        yield
    finally:
        ctypes.CDLL(None).setns(home, CLONE_NEWNET)
        os.close(home)


@contextlib.contextmanager
def opened(folder: Path) -> "Iterator[Stack]":
    """The environment in ``folder``, from inside the operator's network (``joined``)."""
    with contextlib.closing(wiring.leases(load(str(folder)), session_s=10)) as leases:
        leases.connect(limit_s=60)
        yield Stack(folder, leases)


@dataclass(frozen=True)
class Stack:
    """An environment that is deployed; its methods are used inside the operator's network."""

    folder: Path
    leases: Leases

    def dcctl(self, *arguments: str, expect: int = 0, limit_s: float = 900) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dcctl.cli.main", "-e", str(self.folder), *arguments],
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        assert done.returncode == expect, (
            f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def secret(self, name: str) -> str:
        return resolve(load(str(self.folder)).secret(name))

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows from the primary, through whichever edge leads to it."""
        with psycopg.connect(
            "host=198.18.1.21,198.18.2.21 user=app dbname=app connect_timeout=5",
            password=self.secret("postgresql_app"),
            target_session_attrs="read-write",
        ) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def leader(self) -> Term | None:
        """Who leads the role of the scheduler now."""
        return self.leases.observe_role("auction", limit_s=30).term

    def buyer(self) -> "Buyer":
        return Buyer(next(iter(json.loads(self.secret("procurement_brokers")).values())))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Buyer:
    """A party that may use the API. ``edge`` is an address; tokens of what it made are remembered."""

    token: str = field(repr=False)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def ask(self, edge: str, method: str, path: str, data: Any = None, **more: Any) -> Answer:
        """One request through ``edge``; a redirect is an answer."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        content = more.pop("content", None)
        if data is not None:
            content, headers["Content-Type"] = json.dumps({"data": data}).encode(), "application/json"
        url = path if path.startswith("http") else f"http://{edge}:8000{path}"
        request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def done(self, edge: str, method: str, path: str, data: Any = None, **more: Any) -> Any:
        """A request that must be acknowledged; its ``data``."""
        answer = self.ask(edge, method, path, data, **more)
        assert answer.status in (200, 201), f"{method} {path}: {answer.status} {answer.content!r}"
        if "access" in answer.body:
            self.tokens[answer.body["data"]["id"]] = answer.body["access"]["token"]
        return answer.body["data"]

    def document(self, edge: str, of: str, owner: str, content: bytes, **more: str) -> Any:
        """Register ``content``, upload it and attach it; the record."""
        announced = {"hash": f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"}
        registered = self.ask(edge, "POST", "/register", announced)
        assert registered.status == 201, registered.content
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="sign.p7s"\r\n'
            "Content-Type: application/pkcs7-signature\r\n\r\n"
        )
        uploaded = self.done(
            edge,
            "POST",
            registered.body["upload_url"],
            content=head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode(),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
        record = {"title": "sign.p7s", "url": uploaded["url"], "format": "application/pkcs7-signature"}
        return self.done(
            edge, "POST", f"{of}/documents?acc_token={self.tokens[owner]}", record | announced | more
        )

    def tender(self, edge: str, *, opens: timedelta, closes: timedelta) -> str:
        """A tender that people may bid for between these times from now; its id."""
        now = datetime.now(UTC)
        details = "quick, accelerator=10000000"
        id = str(self.done(edge, "POST", API, tender(now, procurementMethodDetails=details))["id"])
        self.document(edge, f"{API}/{id}", id, b"the notice of " + id.encode(), documentType="notice")
        now = datetime.now(UTC)
        self.done(
            edge,
            "PATCH",
            f"{API}/{id}?acc_token={self.tokens[id]}",
            {
                "status": "active.enquiries",
                "enquiryPeriod": {"endDate": (now + opens).isoformat()},
                "tenderPeriod": {"endDate": (now + closes).isoformat()},
            },
        )
        return id

    def bid(self, edge: str, tender_id: str, amount: float) -> str:
        """A bid that counts; its id."""
        path = f"{API}/{tender_id}/bids"
        id = str(
            self.done(edge, "POST", path, {"tenderers": [organization()], "value": {"amount": amount}})["id"]
        )
        self.document(edge, f"{path}/{id}", id, b"the proposal of " + id.encode(), documentType="proposal")
        self.done(edge, "PATCH", f"{path}/{id}?acc_token={self.tokens[id]}", {"status": "pending"})
        return id
