"""What a host lacks, by the names that an operator can install; and what names an image."""

from pathlib import Path

from dcctl.lab import host, image


def test_missing_programs_are_named_by_their_debian_packages() -> None:
    def which(program: str) -> str | None:
        return None if program in {"systemd-nspawn", "nft"} else f"/usr/bin/{program}"

    missing = [name for name in host.missing_packages(which) if "govmomi" not in name]
    assert missing == ["nftables", "systemd-container"]


def test_an_image_is_named_by_everything_that_it_is_made_from(tmp_path: Path) -> None:
    (tmp_path / "base.packages").write_text("sudo\n")
    first = image.key(tmp_path)
    assert image.key(tmp_path) == first
    (tmp_path / "base.packages").write_text("sudo\ncurl\n")
    assert image.key(tmp_path) != first
