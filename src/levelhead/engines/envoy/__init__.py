"""Envoy: its configuration read to a picture of clusters and of the routes that use them."""

from typing import TYPE_CHECKING

from levelhead.engines.later import later

if not TYPE_CHECKING:
    # Many rules name what is in it, and most reviews need it for one language only.
    fields, picture, syntax = (later(f"levelhead.engines.envoy.{name}") for name in ("fields", "picture", "syntax"))
