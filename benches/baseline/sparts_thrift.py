"""Sums by NBServerTask of sparts 0.7.3: `sparts_thrift.py HOST PORT` serves until it is killed."""
import sys
import threading

from sparts.tasks.thrift.handler import ThriftHandlerTask
from sparts.tasks.thrift.nbserver import NBServerTask
from sparts.vservice import VService
from thrift.Thrift import TMessageType, TProcessor, TType

# sparts joins its threads by the name this had until Python 3.8.
if not hasattr(threading.Thread, "isAlive"):
    threading.Thread.isAlive = threading.Thread.is_alive

host, port = sys.argv[1:]


class Calculator:
    """`i64 add(1: i64 left, 2: i64 right)`, as Thrift's compiler has it."""

    class Iface:
        def add(self, left, right):
            pass

    class Processor(TProcessor):
        def __init__(self, handler):
            self.handler = handler

        def process(self, iprot, oprot):
            name, _, sequence = iprot.readMessageBegin()
            arguments = {}
            iprot.readStructBegin()
            while True:
                _, kind, number = iprot.readFieldBegin()
                if kind == TType.STOP:
                    break
                if kind == TType.I64:
                    arguments[number] = iprot.readI64()
                else:
                    iprot.skip(kind)
                iprot.readFieldEnd()
            iprot.readStructEnd()
            iprot.readMessageEnd()
            result = self.handler.add(arguments[1], arguments[2])
            oprot.writeMessageBegin(name, TMessageType.REPLY, sequence)
            oprot.writeStructBegin("add_result")
            oprot.writeFieldBegin("success", TType.I64, 0)
            oprot.writeI64(result)
            oprot.writeFieldEnd()
            oprot.writeFieldStop()
            oprot.writeStructEnd()
            oprot.writeMessageEnd()
            oprot.trans.flush()
            return True


class Sums(ThriftHandlerTask):
    MODULE = Calculator

    def add(self, left, right):
        return left + right


class Server(NBServerTask):
    DEFAULT_HOST = host
    DEFAULT_PORT = int(port)


class Service(VService):
    TASKS = [Sums, Server]


Service(Service._buildArgumentParser().parse_args(["--level", "ERROR"])).startBG().join()
