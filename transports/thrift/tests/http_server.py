"""Serves the calculator over HTTP, by Apache's own server, and prints its port: http_server.py PROTOCOL HTTP-VERSION"""

import sys
from http.server import ThreadingHTTPServer

from calc import Calculator
from calc.ttypes import NoResult, Operation
from thrift.protocol.TBinaryProtocol import TBinaryProtocolFactory
from thrift.protocol.TCompactProtocol import TCompactProtocolFactory
from thrift.server.THttpServer import THttpServer


class Handler(Calculator.Iface):
    said = []

    def calculate(self, work):
        if work.operation == Operation.DIVIDE:
            raise NoResult("by nothing")
        return work.left + work.right

    def ping(self):
        pass

    def note(self, text):
        self.said.append(text)

    def notes(self):
        return self.said

    def act(self, what):
        if what == "panic":
            raise ValueError(what)
        return what


factory = {"binary": TBinaryProtocolFactory, "compact": TCompactProtocolFactory}[sys.argv[1]]()
server = THttpServer(Calculator.Processor(Handler()), ("127.0.0.1", 0), factory, server_class=ThreadingHTTPServer)
server.httpd.RequestHandlerClass.protocol_version = "HTTP/" + sys.argv[2]
print(server.httpd.server_port, flush=True)
server.serve()
