"""Calls both services of the tests over HTTP, by every protocol: http_client.py PORT"""

import sys

from calc import Calculator, Echo
from calc.ttypes import NoResult, Operation, Work
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.Thrift import TApplicationException
from thrift.transport.THttpClient import THttpClient

for protocol in TBinaryProtocol, TCompactProtocol:
    wire = THttpClient("http://127.0.0.1:%s/" % sys.argv[1])
    wire.setTimeout(20_000)
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
    try:
        calculator.act("panic")
        assert False, "it fails"
    except TApplicationException as error:
        assert error.type == TApplicationException.INTERNAL_ERROR, error
    for length in 0, 1, 300_000:
        assert echo.bytes(bytes(length)) == bytes(length)
    # Without a service's name it is the default.
    Calculator.Client(protocol(wire)).ping()
    wire.close()
    print(protocol.__name__)
