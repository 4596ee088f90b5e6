"""Python's gRPC against the example grpc-health: grpc_client.py PORT; prints a line for each thing that holds."""
# Not under the name grpc_health, which grpc itself imports if it is there.
import queue
import sys

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.wrappers_pb2 import UInt64Value

channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
# An Amount has the same form.
add = channel.unary_unary("/tally.Tally/Add", UInt64Value.SerializeToString, UInt64Value.FromString)
follow = channel.unary_stream("/tally.Tally/Follow", response_deserializer=UInt64Value.FromString)
check = channel.unary_unary("/grpc.health.v1.Health/Check")
watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"

totals = follow(b"")
assert next(totals).value == 0
assert add(UInt64Value(value=3), timeout=20).value == 3
assert next(totals).value == 3
try:
    add(UInt64Value(value=2**64 - 1), timeout=20)
    raise AssertionError("it fits")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE, error
print("added")
# Reflection: a question and an answer by their bytes; in field 4 is the form of a set of files.
questions = queue.Queue()
answers = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(iter(questions.get, None))
question = b"\x22\x0btally.Tally"
questions.put(question)
head, _, files = next(answers).partition(b"\x12\x0d" + question + b"\x22")
assert head == b"" and files, files
while files[0] & 0x80:
    files = files[1:]
(file,) = descriptor_pb2.FileDescriptorSet.FromString(files[1:]).file
assert [method.name for method in file.service[0].method] == ["Add", "Follow"], file
print("described")
# The whole service may be a moment from ready when this task is.
service = watch(b"")
while next(service) != SERVING:
    pass
task = watch(b"\x0a\x04grpc")
assert next(task) == SERVING
assert check(b"\x0a\x04grpc", timeout=20) == SERVING
# The test ends the service when it reads this: all streams come to an end.
print("serving", flush=True)
assert list(service) == [NOT_SERVING]
assert list(task) == [NOT_SERVING]
assert list(totals) == []
assert list(answers) == []
questions.put(None)
print("stopped")
