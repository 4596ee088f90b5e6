"""grpcio's own health and reflection clients: grpc_client.py PORT NAME; prints a line for each thing that holds. NAME is what health knows besides ""."""
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

port, name = sys.argv[1:]
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
grpc.channel_ready_future(channel).result(timeout=20)
stub = health_pb2_grpc.HealthStub(channel)
serving = health_pb2.HealthCheckResponse.SERVING


def request(service):
    return health_pb2.HealthCheckRequest(service=service)


for service in ["", name]:
    assert stub.Check(request(service), timeout=20).status == serving, service
    print(f"Check {service!r}: SERVING")
    watch = stub.Watch(request(service), timeout=20)
    assert next(watch).status == serving, service
    watch.cancel()
    print(f"Watch {service!r}: SERVING")
try:
    stub.Check(request("nothing"), timeout=20)
    raise AssertionError("nothing is there")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
    print("Check 'nothing': NOT_FOUND")
assert next(stub.Watch(request("nothing"), timeout=20)).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
print("Watch 'nothing': SERVICE_UNKNOWN")

database = ProtoReflectionDescriptorDatabase(channel)
services = database.get_services()
assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(services), services
print(f"reflection lists {len(services)} services")
pool = DescriptorPool(database)
for service in services:
    assert pool.FindServiceByName(service).full_name == service
    print(f"reflection describes {service}")
try:
    pool.FindServiceByName("no.such.Service")
    raise AssertionError("it is described")
except KeyError:
    print("reflection does not know no.such.Service")
