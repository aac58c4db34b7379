"""What makes a baked state one lab's own: its keys, its passwords, and where it lies."""

import base64
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import bcrypt

from labcloud.settings import Settings


def take_over(state: Path, settings: Settings) -> None:
    """Do so, unless it was done."""
    if (state / "fernet" / "0").exists():
        return
    set_passwords(state, settings)
    locate_images(state)
    make_keys(state)


def make_keys(state: Path) -> None:
    """Fresh token and credential keys, as ``keystone-manage fernet_setup`` lays them out."""
    for repository in ("fernet", "credential"):
        for index in ("0", "1"):
            file = state / repository / index
            file.touch(mode=0o600)
            file.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


def set_passwords(state: Path, settings: Settings) -> None:
    """Put this lab's passwords in place of those that the state was baked with."""
    with closing(sqlite3.connect(state / "db" / "keystone.db")) as database, database:
        for user, password in settings.passwords.items():
            digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
            database.execute(
                "UPDATE password SET password_hash = ? WHERE local_user_id ="
                " (SELECT id FROM local_user WHERE name = ?)",
                (digest, user),
            )


def locate_images(state: Path) -> None:
    """Glance remembers where each image's file is by its whole path."""
    with closing(sqlite3.connect(state / "db" / "glance.db")) as database, database:
        database.execute(
            "UPDATE image_locations SET value = 'file://' || ? || '/' || image_id", (str(state / "images"),)
        )
