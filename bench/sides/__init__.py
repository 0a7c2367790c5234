"""The sides of `bench.processes`: the same works in wsrelay, in asyncio and in actor libraries.

A side is a module with a function for each work that it knows; the argument is how often:

    ping_pong   round trips of a message between two
    fan_in      messages of 100 senders to one receiver
    spawn_exit  births of something that ends at once, each waited for
    idle        things that wait for a message, all at the same time

Each checks what it did, and returns what the part that counts has cost (`measure.py`).
"""
