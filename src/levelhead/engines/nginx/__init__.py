"""nginx: its configuration read to a picture of pools and of the sites that use them."""

from typing import TYPE_CHECKING

from levelhead.engines.later import later

if not TYPE_CHECKING:
    # Many rules name what is in it, and most reviews need it for one language only.
    includes, picture = (later(f"levelhead.engines.nginx.{name}") for name in ("includes", "picture"))
