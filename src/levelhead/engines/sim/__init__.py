"""The simulated world as an engine: a plane cannot tell it from a proxy."""
