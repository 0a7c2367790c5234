"""Middleware, one file each; `options.py` reads their options. `wsrelay.relay` is the relay's."""
