"""HAProxy as data plane: config (pure) renders it, stats (pure) reads it, driver runs it."""

from typing import TYPE_CHECKING

from levelhead.engines.later import later

if not TYPE_CHECKING:
    # Many rules name what is in it, and most reviews need it for one language only.
    picture = later("levelhead.engines.haproxy.picture")
