"""The compiled core of wsrelay: PIDs, mailboxes, processes, frames and connections.

It knows bytes, mailboxes and PIDs; no HTTP, no YAML, no logging. Users import from `wsrelay`.
"""
