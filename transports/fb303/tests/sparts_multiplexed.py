"""The client of Python's sparts 0.7.3 calls the services of its example, two at one address: sparts_multiplexed.py PORT"""

import os
import sys

import sparts

# What it brings of Thrift's generated code is of Python 2, and looks for its other half beside itself.
sys.path.append(os.path.join(sparts.__path__[0], "gen", "sparts_examples"))

from sparts.gen.sparts_examples import SpartsBarService, SpartsFooService
from sparts.thrift.client import ThriftClient

port = int(sys.argv[1])
foo = ThriftClient.for_localhost(port, module=SpartsFooService, multiplex_service="foo", connect_timeout=20.0)
bar = ThriftClient.for_localhost(port, module=SpartsBarService, multiplex_service="bar", connect_timeout=20.0)
print(foo.foo(), bar.bar(), foo.foo())
