"""Items through a QueueTask of sparts 0.7.3: `sparts_queue.py results|posts WORKERS N` prints the seconds they took."""
import sys
import threading
import time

from sparts.tasks.queue import QueueTask
from sparts.vservice import VService

# sparts joins its threads by the name this had until Python 3.8.
if not hasattr(threading.Thread, "isAlive"):
    threading.Thread.isAlive = threading.Thread.is_alive

BATCH = 100

mode, workers, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
lock = threading.Lock()
ended = threading.Event()
left = n


class Items(QueueTask):
    WORKERS = workers

    def execute(self, item, context):
        global left
        if mode == "posts":
            with lock:
                left -= 1
                if left == 0:
                    ended.set()
        return item + 1


class Queue(VService):
    TASKS = [Items]


service = Queue(Queue._buildArgumentParser().parse_args(["--level", "ERROR"]))
runloop = service.startBG()
items = service.requireTask("Items")
began = time.time()
if mode == "posts":
    for item in range(n):
        items.queue.put(item)
    ended.wait()
else:
    for first in range(0, n, BATCH):
        batch = range(first, min(first + BATCH, n))
        # Not by map(), which since Python 3 submits one only when the result of the one before is there.
        futures = [items.submit(item) for item in batch]
        assert [future.result() for future in futures] == [item + 1 for item in batch]
print(time.time() - began)
sys.stdout.flush()
service.stop()
runloop.join()
