"""The operator's keys get in, whatever the user-data was."""

import email

import pytest
import yaml

from dcctl.adapters.openstack.userdata import with_keys

ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE9uZSBvZiB0d28ga2V5cyB0aGF0IGFyZSBub3Qga2V5cw one@example"
TWO = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFR3byBvZiB0d28ga2V5cyB0aGF0IGFyZSBub3Qga2V5cw two@example"


def test_no_keys_change_nothing() -> None:
    assert with_keys("#cloud-config\n{}\n", ()) == "#cloud-config\n{}\n"


def test_keys_that_are_in_change_nothing_however_the_lines_are_broken() -> None:
    document = "#cloud-config\n" + yaml.safe_dump({"users": [{"ssh_authorized_keys": [ONE, TWO]}]}, width=20)
    assert ONE not in document
    assert with_keys(document, (ONE, TWO)) == document


def test_without_user_data_the_keys_are_all_there_is() -> None:
    document = with_keys("", (ONE, TWO))
    assert document.startswith("#cloud-config\n")
    assert yaml.safe_load(document)["ssh_authorized_keys"] == [ONE, TWO]


@pytest.mark.parametrize(
    ("user_data", "kind"),
    [
        ("#cloud-config\nssh_authorized_keys: ['" + ONE + "']\n", "text/cloud-config"),
        ("#!/bin/sh\ntrue\n", "text/x-shellscript"),
        ("#include\nhttps://example.org/\n", "text/x-include-url"),
    ],
)
def test_a_missing_key_comes_as_a_part_of_its_own(user_data: str, kind: str) -> None:
    message = email.message_from_string(with_keys(user_data, (ONE, TWO)))
    theirs, ours = message.get_payload()
    assert theirs.get_content_type() == kind  # type: ignore[union-attr]
    assert theirs.get_payload(decode=True).decode() == user_data  # type: ignore[union-attr]
    added = yaml.safe_load(ours.get_payload(decode=True))["ssh_authorized_keys"]  # type: ignore[union-attr]
    assert TWO in added
