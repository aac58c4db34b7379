#!/usr/bin/python3
"""Files, links and folders with their exact content, all in one call."""

# Why not one template task per file: each costs two or three Python starts on the machine, and a role
# has several files. One call for all of a role's files makes an unchanged deploy about four times faster.

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: configuration
short_description: Files, links and folders with their exact content, all in one call
description:
  - Writes what differs, atomically, and reports a difference for each.
options:
  files:
    description: What shall be there, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      content:
        description: The whole content of a file.
        type: str
      link:
        description: The target of a symbolic link.
        type: path
      directory:
        description: It is a folder.
        type: bool
        default: false
      owner:
        description: Owner of a file or folder.
        type: str
        default: root
      group:
        description: Group of a file or folder.
        type: str
        default: root
      mode:
        description: Mode of a file (by default 0644) or a folder (by default 0755).
        type: str
      validate:
        description: A command that must succeed before a file is replaced; C(%s) is the new file.
        type: str
      fixed:
        description:
          - Why this file must never change once it is there; a difference is then an error.
        type: str
      read_stamp:
        description:
          - A file that the reader of this file touches whenever it reads it.
          - A file newer than that is C(stale), so that a deploy that was interrupted is made good.
        type: path
  masked:
    description: Secret values; wherever they occur in what this module reports they are replaced.
    type: list
    elements: str
    default: []
author: dcctl
"""

RETURN = """
written:
  description: The paths that differed, in order.
  type: list
  elements: str
  returned: always
stale:
  description: The paths whose reader runs and has not read them since they were written.
  type: list
  elements: str
  returned: always
stamped:
  description: Whether every I(read_stamp) exists; if not, what runs, if anything, is not our service.
  type: bool
  returned: always
"""

ENTRY = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "link": {"type": "path"},
    "directory": {"type": "bool", "default": False},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str"},
    "validate": {"type": "str"},
    "fixed": {"type": "str"},
    "read_stamp": {"type": "path"},
}


def main():
    """Ensure every entry and report."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": ENTRY,
                "mutually_exclusive": [("content", "link", "directory")],
            },
            "masked": {"type": "list", "elements": "str", "default": [], "no_log": True},
        },
        supports_check_mode=True,
    )
    must_not_change(module)
    written, diffs = [], []
    for entry in module.params["files"]:
        try:
            diff = ensure(module, entry)
        except OSError as error:
            module.fail_json(msg=f"write {entry['path']}: {error.strerror or error}")
        if diff is not None:
            written.append(entry["path"])
            diffs.append(diff)
    stale = [entry["path"] for entry in module.params["files"] if is_stale(entry, written)]
    stamps = [entry["read_stamp"] for entry in module.params["files"] if entry["read_stamp"]]
    stamped = all(Path(stamp).exists() for stamp in stamps)
    module.exit_json(changed=bool(written), written=written, stale=stale, stamped=stamped, diff=diffs)


def must_not_change(module):
    """Fail, before anything is written, when a fixed file would change."""
    for entry in module.params["files"]:
        before = read(Path(entry["path"])) if entry["fixed"] else None
        if before is not None and before != entry["content"]:
            became = f"{before.strip()!r} would become {(entry['content'] or '').strip()!r}"
            module.fail_json(msg=f"{entry['path']}: {became}: {entry['fixed']}")


def ensure(module, entry):
    """Make one entry so, unless in check mode; what differed, or None."""
    if entry["link"] is not None:
        return ensure_link(module, entry)
    if entry["directory"]:
        return ensure_folder(module, entry)
    return ensure_file(module, entry)


def ensure_link(module, entry):
    """A symbolic link to the target, whatever was there."""
    path, target = Path(entry["path"]), entry["link"]
    before = str(path.readlink()) if path.is_symlink() else ""
    if before == target:
        return None
    if not module.check_mode:
        beside = path.with_name(f"{path.name}.dcctl")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(path)
    return difference(path, before, target)


def ensure_folder(module, entry):
    """A folder with its owner and mode."""
    path = Path(entry["path"])
    missing = not path.is_dir()
    if missing and module.check_mode:
        return difference(path, "", "a folder")
    if missing:
        path.mkdir(parents=True)
    return difference(path, "", "a folder") if own(module, entry, "0755", changed=missing) else None


def ensure_file(module, entry):
    """A file with its content, owner and mode."""
    path, content = Path(entry["path"]), entry["content"] or ""
    before = read(path)
    differs = before != content
    if differs and module.check_mode:
        return difference(path, before, content)
    if differs:
        replace(module, entry, content)
    if not own(module, entry, "0644", changed=differs):
        return None
    return difference(path, before, content)


def replace(module, entry, content):
    """Put the new content in place in one move, validated first when asked."""
    path = entry["path"]
    new = Path(module.tmpdir) / Path(path).name
    new.touch(mode=0o600)
    new.write_text(content, encoding="utf-8")
    if entry["validate"]:
        code, out, err = module.run_command(entry["validate"].replace("%s", str(new)))
        if code != 0:
            module.fail_json(msg=f"{path} was not accepted by `{entry['validate']}`: {(err or out).strip()}")
    module.atomic_move(str(new), path)


def own(module, entry, mode, changed):
    """Give the path its owner and mode; whether anything, ``changed`` included, was not so."""
    attributes = module.load_file_common_arguments(
        {
            "path": entry["path"],
            "owner": entry["owner"],
            "group": entry["group"],
            "mode": entry["mode"] or mode,
        }
    )
    return module.set_fs_attributes_if_different(attributes, changed)


def read(path):
    """The text of a file; None when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def difference(path, before, after):
    """One difference, in the form that Ansible shows."""
    return {"before_header": str(path), "after_header": str(path), "before": before or "", "after": after}


def is_stale(entry, written):
    """Whether the reader of this file runs and has not read what is, or in check mode would be, there."""
    if entry["read_stamp"] is None or not Path(entry["read_stamp"]).exists():
        return False
    if entry["path"] in written:
        return True
    # Of a link itself: what it leads to now may be older than what it led to before.
    return Path(entry["path"]).lstat().st_mtime_ns > Path(entry["read_stamp"]).stat().st_mtime_ns


if __name__ == "__main__":
    main()
