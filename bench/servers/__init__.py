"""The servers that are measured, one script each.

A script takes at most one argument, what it is to do, listens on a free loopback port and, when it
is ready, prints one line: the port, then what exactly it is (name and version). `bench.compare`
ends it by its PID.
"""
