"""Python's gRPC against the server of tests/python.rs: client.py PORT [CA]; prints a line for each thing that holds."""
import sys
import threading
import time

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
address = "127.0.0.1:" + sys.argv[1]
if sys.argv[2:]:
    with open(sys.argv[2], "rb") as authority:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(authority.read()), options=LARGE)
else:
    channel = grpc.insecure_channel(address, options=LARGE)


def wrap(data):
    return BytesValue(value=data).SerializeToString()


def unwrap(data):
    return BytesValue.FromString(data).value


def method(kind, name):
    return getattr(channel, kind)("/" + name, request_serializer=wrap, response_deserializer=unwrap)


def fails(code, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
        if not isinstance(result, bytes):
            list(result)
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError("no " + str(code))


Code = grpc.StatusCode
say = method("unary_unary", "test.Echo/Say")
many = method("unary_stream", "test.Echo/Many")
count = method("stream_unary", "test.Echo/Count")
chat = method("stream_stream", "test.Echo/Chat")

assert say(b"hello", timeout=20) == b"hello"
print("unary")
answer, call = say.with_call(b"hello", metadata=[("x-word", "there")], timeout=20)
assert ("x-word", "there") in call.initial_metadata(), call.initial_metadata()
print("metadata")
assert list(many(b"abc", timeout=20)) == [b"a", b"b", b"c"]
print("server streaming")
assert count(iter([b"x"] * 100), timeout=20) == b"100"
print("client streaming")
assert list(chat(iter([b"a", b"b"]), timeout=20)) == [b"a", b"b"]
print("both")
large = b"x" * (8 << 20)
assert say(large, timeout=20) == large
print("large")
error = fails(Code.OUT_OF_RANGE, say, b"x" * (17 << 20), timeout=20)
print("too large")
# The client has the same deadline: the server's counters say that it kept its own.
fails(Code.DEADLINE_EXCEEDED, say, b"never", timeout=0.2)
fails(Code.DEADLINE_EXCEEDED, many, b"never", timeout=0.2)
print("deadline")
fails(Code.UNIMPLEMENTED, method("unary_unary", "test.Echo/Nothing"), b"", timeout=20)
fails(Code.UNIMPLEMENTED, method("unary_unary", "test.Nothing/Say"), b"", timeout=20)
print("unknown")
fails(Code.INTERNAL, say, b"panic", timeout=20)
fails(Code.INTERNAL, many, b"panic", timeout=20)
assert say(b"on", timeout=20) == b"on"
print("panic")
call = many(b"forever")
assert next(call) == b"x"
call.cancel()
print("cancel")

health = channel.unary_unary("/grpc.health.v1.Health/Check")
for name in [b"", b"\x0a\x04grpc"]:
    assert health(name, timeout=20) == b"\x08\x01", name
fails(Code.NOT_FOUND, health, b"\x0a\x02no", timeout=20)
watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\x04grpc")
assert next(watch) == b"\x08\x01"
print("health")

# The test stops the service when it reads this: the open call ends, then there is nothing more.
open_call = say.future(b"gate")
print("open", flush=True)
assert list(watch) == [b"\x08\x02"]
assert open_call.result(timeout=20) == b"gate"
print("drained")
# A call that is sent before this client has read of the end is served too.
try:
    while True:
        assert say(b"late", timeout=20) == b"late"
except grpc.RpcError as error:
    assert error.code() == Code.UNAVAILABLE, error
print("gone")
