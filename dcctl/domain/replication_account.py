"""Containers of several accounts, by one name each: ``ACCOUNT/CONTAINER``, and ``CONTAINER`` alone in the
account of the stores themselves. No container's name has a slash, so neither can be taken for the other."""

DEFAULT = "default"
"""What the stores' own account is called where a person chooses accounts."""


def qualified(account: str, container: str) -> str:
    """The name of ``container`` in ``account``."""
    return container if account == DEFAULT else f"{account}/{container}"


def account_of(container: str) -> str:
    """The account of a qualified name."""
    return container.rpartition("/")[0] or DEFAULT


def own_name(container: str) -> str:
    """What the container is called within its account."""
    return container.rpartition("/")[2]


def beside(container: str, other: str) -> str:
    """The container ``other`` of the account that ``container`` is in."""
    return qualified(account_of(container), other)
