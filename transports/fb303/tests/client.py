"""Calls every method of fb303 over every transport and protocol, and ends the service: client.py PORT"""

import sys
import time

from fb303 import FacebookService
from fb303.ttypes import fb_status
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TFramedTransport

port = int(sys.argv[1])


def refused(call, *arguments):
    try:
        call(*arguments)
    except TApplicationException as error:
        assert error.type == TApplicationException.INTERNAL_ERROR, error
        return error.message
    assert False, "it is answered"


def call_all(client):
    assert client.getName() == "shop"
    assert client.getVersion() == "1.2.3"
    assert client.getStatus() == fb_status.ALIVE
    assert client.getStatusDetails() == ""
    assert client.getCounters()["fb303.running"] == 1
    assert client.getCounter("fb303.running") == 1
    assert refused(client.getCounter, "nothing") == "no counter nothing"
    assert client.getExportedValues() == {"owner": "Eve", "fb303.address": "127.0.0.1:%d" % port}
    assert client.getExportedValue("owner") == "Eve"
    client.setOption("drain-delay", "1ms")
    assert client.getOption("drain-delay") == "1ms"
    client.setOption("drain-delay", "__None__")
    assert client.getOptions()["drain-delay"] != "1ms"
    assert refused(client.getCpuProfile, 61) == "a profile takes from 1 s to 60 s, not 61 s"
    assert 0 <= time.time() - client.aliveSince() < 3600
    client.reinitialize()
    assert client.getStatus() == fb_status.ALIVE


for transport in TFramedTransport, TBufferedTransport:
    for protocol in TBinaryProtocol, TCompactProtocol:
        socket = TSocket("127.0.0.1", port)
        socket.setTimeout(20_000)
        wire = transport(socket)
        wire.open()
        call_all(FacebookService.Client(protocol(wire)))
        wire.close()
        print(transport.__name__, protocol.__name__)

try:
    from sparts.thrift.client import ThriftClient
except ImportError:
    print("sparts is not here")
else:
    call_all(ThriftClient.for_localhost(port, module=FacebookService, connect_timeout=20.0))
    print("sparts")

wire.open()
FacebookService.Client(protocol(wire)).shutdown()
