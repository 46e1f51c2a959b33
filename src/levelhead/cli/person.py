"""Who is at the keyboard, as it is written into the record."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping


def author(environ: Mapping[str, str]) -> str:
    """`alice@desk`, or `alice as root@desk` under sudo."""
    user, before = _user(), environ.get("SUDO_USER", "")
    name = f"{before} as {user}" if before and before != user and before.isprintable() else user
    return f"{name}@{socket.gethostname()}"


def _user() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
