"""fb303 as Python's sparts 0.7.3 serves it: prints its port, and serves until it is shut down."""

import os
import sys
import threading

import sparts

# What it brings of Thrift's generated code is of Python 2, and looks for its other half beside itself.
sys.path.append(os.path.join(sparts.__path__[0], "gen", "fb303"))

from sparts.tasks.fb303 import FB303HandlerTask
from sparts.tasks.thrift.nbserver import NBServerTask
from sparts.vservice import VService

# sparts joins its threads by the name this had until Python 3.8.
if not hasattr(threading.Thread, "isAlive"):
    threading.Thread.isAlive = threading.Thread.is_alive


class Handler(FB303HandlerTask):
    # As Thrift declares them; sparts has a float, and an integer.
    def aliveSince(self):
        return int(super().aliveSince())


class Server(NBServerTask):
    DEFAULT_HOST = "127.0.0.1"


class Bakery(VService):
    VERSION = "0.7"
    TASKS = [Handler, Server]


service = Bakery(Bakery._buildArgumentParser().parse_args(["--level", "ERROR"]))
running = service.startBG()
print(service.requireTask(Server).bound_port, flush=True)
running.join()
