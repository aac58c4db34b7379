"""User-data that lets certain keys in, whatever it was before.

Nova's own keypairs take one key each, belong to one user and outlive the server: cloud-init does without.
"""

from collections.abc import Sequence
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import yaml

APPEND = [
    {"name": "list", "settings": ["append"]},
    {"name": "dict", "settings": ["no_replace", "recurse_list"]},
]
"""https://cloudinit.readthedocs.io/en/latest/reference/merging.html"""


def with_keys(user_data: str, keys: Sequence[str]) -> str:
    """``user_data``, and ``keys`` for the image's default user unless it names them all already.

    A document of any kind that cloud-init takes becomes a part of a multi-part one when keys are missing.
    """
    missing = [key for key in keys if _body(key) not in user_data]
    if not missing:
        return user_data
    ours = "#cloud-config\n" + yaml.safe_dump({"ssh_authorized_keys": missing, "merge_how": APPEND})
    if not user_data:
        return ours
    document = MIMEMultipart()
    for text in (user_data, ours):
        document.attach(MIMEText(text, _kind(text)))
    return document.as_string()


def _body(key: str) -> str:
    """The key proper, which no YAML writer breaks: in "ssh-ed25519 AAAA… comment" the longest word."""
    return max(key.split(), key=len)


def _kind(text: str) -> str:
    """The MIME subtype by the first line, as cloud-init tells its formats apart."""
    first = text.split("\n", 1)[0]
    kinds = {"#cloud-config": "cloud-config", "#!": "x-shellscript", "#include": "x-include-url"}
    return next((kind for mark, kind in kinds.items() if first.startswith(mark)), "plain")
