"""HAProxy as data plane: config (pure) renders it, stats (pure) reads it, driver runs it."""
