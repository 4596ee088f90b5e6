"""Calls both services of the tests over every transport and protocol: client.py PORT [CA]"""

import ssl
import sys

from calc import Calculator, Echo
from calc.ttypes import NoResult, Operation, Work
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.TSocket import TSocket
from thrift.transport.TSSLSocket import TSSLSocket
from thrift.transport.TTransport import TBufferedTransport, TFramedTransport

for transport in TFramedTransport, TBufferedTransport:
    for protocol in TBinaryProtocol, TCompactProtocol:
        port = int(sys.argv[1])
        if len(sys.argv) > 2:
            socket = TSSLSocket("127.0.0.1", port, cert_reqs=ssl.CERT_REQUIRED, ca_certs=sys.argv[2])
        else:
            socket = TSocket("127.0.0.1", port)
        socket.setTimeout(20_000)
        wire = transport(socket)
        wire.open()
        calculator = Calculator.Client(TMultiplexedProtocol(protocol(wire), "Calculator"))
        echo = Echo.Client(TMultiplexedProtocol(protocol(wire), "Echo"))

        assert calculator.calculate(Work(20, 22)) == 42
        try:
            calculator.calculate(Work(1, 0, Operation.DIVIDE, "ä"))
            assert False, "there is no result"
        except NoResult as error:
            assert error.why == "by nothing"
        calculator.note("oneway")
        assert calculator.notes()[-1] == "oneway"
        for act, kind in ("refuse", TApplicationException.INTERNAL_ERROR), ("panic", TApplicationException.INTERNAL_ERROR):
            try:
                calculator.act(act)
                assert False, "it fails"
            except TApplicationException as error:
                assert error.type == kind, error
        try:
            Calculator.Client(TMultiplexedProtocol(protocol(wire), "Nobody")).ping()
            assert False, "nobody is there"
        except TApplicationException as error:
            assert error.type == TApplicationException.UNKNOWN_METHOD, error

        for length in 0, 1, 300_000:
            assert echo.bytes(bytes(length)) == bytes(length)
        lists = {"none": [], "some": list(range(-20, 20)), "ä": [2**31 - 1, -(2**31)]}
        assert echo.lists(lists) == lists
        works = [Work(n, -n, Operation.SUBTRACT, str(n)) for n in range(50)]
        assert echo.works(works) == works
        assert echo.numbers({-(2**63), 0, 2**63 - 1}) == {-(2**63), 0, 2**63 - 1}
        assert echo.number(-0.1) == -0.1
        assert echo.truth(True) is True and echo.truth(False) is False
        # Without a service's name it is the default.
        Calculator.Client(protocol(wire)).ping()
        wire.close()
        print(transport.__name__, protocol.__name__)
