"""What is read is written back, in C on epoll: the kernel's part of an echo, and nothing else."""

import os
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script knows only its own folder

from bench.pump import library

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the loop never comes back to Python
    serve = library().floor_serve  # built before anybody is told of the port
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], "recv and send in C on epoll", flush=True)
    raise SystemExit(os.strerror(serve(listener.fileno())))
