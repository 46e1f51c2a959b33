"""From texts to something to review: which language they are in, read by that language's reader."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet
from levelhead.review.base import Config, Facts, Language, Version

# Where neither --target nor a binary says which version a file is for: the stable branches most people run.
USUAL: Final[Mapping[Language, Version]] = {
    "haproxy": (2, 8), "nginx": (1, 28, 0), "envoy": (1, 40, 0), "levelhead": (0, 1),
}  # fmt: skip

# In quotes, so that no picture is loaded before a file asks for its language.
AnyConfig: TypeAlias = "Config[haproxy.Reading] | Config[nginx.Reading] | Config[envoy.Reading] | Config[Fleet]"
Read: TypeAlias = "Callable[[Mapping[str, str], str, Version, Facts], AnyConfig]"
_NO_FACTS: Final = Facts()


def config_of(
    files: Mapping[str, str], main: str, language: Language, *, version: Version = (), facts: Facts = _NO_FACTS
) -> AnyConfig:
    """One configuration, read. `files` are texts by name. Raises ConfigError, with its place, for what is no such text.

    HAProxy reads all files in order; nginx and Envoy begin with `main`.
    """
    # By name: the readers of all languages take longer to load than one needs to read a file.
    read: Read = importlib.import_module(f"levelhead.review.readers.{language}").config
    return read(files, main, version or USUAL[language], facts)
