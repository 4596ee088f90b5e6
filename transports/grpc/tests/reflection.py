"""Python's gRPC against the server of tests/reflection.rs: reflection.py PORT. It has no code of the services that it calls."""
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Field = descriptor_pb2.FieldDescriptorProto
channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])


def messages_of(package):
    """The messages of reflection: it has to be known how to ask."""
    file = descriptor_pb2.FileDescriptorProto(name=package, package=package, syntax="proto3")

    def add(message, *fields):
        message = file.message_type.add(name=message)
        for number, name, kind, *more in fields:
            field = message.field.add(name=name, number=number, type=kind, label=Field.LABEL_OPTIONAL)
            for what in more:
                if what == "repeated":
                    field.label = Field.LABEL_REPEATED
                elif what == "one":
                    field.oneof_index = 0
                else:
                    field.type_name = "." + package + "." + what
        return message

    TEXT, BYTES, NUMBER, MESSAGE = Field.TYPE_STRING, Field.TYPE_BYTES, Field.TYPE_INT32, Field.TYPE_MESSAGE
    add(
        "ServerReflectionRequest",
        (1, "host", TEXT),
        (3, "file_by_filename", TEXT, "one"),
        (4, "file_containing_symbol", TEXT, "one"),
        (5, "file_containing_extension", MESSAGE, "one", "ExtensionRequest"),
        (6, "all_extension_numbers_of_type", TEXT, "one"),
        (7, "list_services", TEXT, "one"),
    ).oneof_decl.add(name="message_request")
    add("ExtensionRequest", (1, "containing_type", TEXT), (2, "extension_number", NUMBER))
    add(
        "ServerReflectionResponse",
        (1, "valid_host", TEXT),
        (2, "original_request", MESSAGE, "ServerReflectionRequest"),
        (4, "file_descriptor_response", MESSAGE, "one", "FileDescriptorResponse"),
        (5, "all_extension_numbers_response", MESSAGE, "one", "ExtensionNumberResponse"),
        (6, "list_services_response", MESSAGE, "one", "ListServiceResponse"),
        (7, "error_response", MESSAGE, "one", "ErrorResponse"),
    ).oneof_decl.add(name="message_response")
    add("FileDescriptorResponse", (1, "file_descriptor_proto", BYTES, "repeated"))
    add("ExtensionNumberResponse", (1, "base_type_name", TEXT), (2, "extension_number", NUMBER, "repeated"))
    add("ListServiceResponse", (1, "service", MESSAGE, "repeated", "ServiceResponse"))
    add("ServiceResponse", (1, "name", TEXT))
    add("ErrorResponse", (1, "error_code", NUMBER), (2, "error_message", TEXT))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return file, message_class(pool, package + ".ServerReflectionRequest"), message_class(pool, package + ".ServerReflectionResponse")


def message_class(pool, name):
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(name))


def shape(file):
    """All names and numbers, without what tells how a file was made."""
    shaped = {}
    for message in file.message_type:
        fields = [(f.name, f.number, f.type, f.label, f.type_name, f.HasField("oneof_index")) for f in message.field]
        shaped[message.name] = (sorted(fields), [one.name for one in message.oneof_decl])
    return shaped


for package in ["grpc.reflection.v1", "grpc.reflection.v1alpha"]:
    own, Request, Response = messages_of(package)
    info = channel.stream_stream(
        "/" + package + ".ServerReflection/ServerReflectionInfo", Request.SerializeToString, Response.FromString
    )

    def ask(*requests, **request):
        requests = requests or [Request(**request)]
        answers = list(info(iter(requests), timeout=20))
        assert [answer.original_request for answer in answers] == list(requests), answers
        return answers[0] if request else answers

    def error(**request):
        return ask(**request).error_response.error_code

    listed = ask(list_services="*").list_services_response.service
    names = {service.name for service in listed}
    assert "test.Echo" in names and package + ".ServerReflection" in names, names
    # What the server says of reflection itself is what this client knows.
    (file,) = ask(file_containing_symbol=package + ".ServerReflection").file_descriptor_response.file_descriptor_proto
    assert shape(descriptor_pb2.FileDescriptorProto.FromString(file)) == shape(own)

    # Every service is described, with all that its file imports.
    pool, files = descriptor_pool.DescriptorPool(), {}
    for name in sorted(names):
        answer = ask(file_containing_symbol=name, host="here")
        assert answer.valid_host == "here", answer
        for file in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(file)
            files[file.name] = file

    def add(name):
        if name in files:
            file = files.pop(name)
            for imported in file.dependency:
                add(imported)
            pool.Add(file)

    for name in list(files):
        add(name)
    for name in names:
        assert pool.FindServiceByName(name).methods, name

    # A call, by that alone.
    say = pool.FindServiceByName("test.Echo").methods_by_name["Say"]
    Input, Output = message_class(pool, say.input_type.full_name), message_class(pool, say.output_type.full_name)
    call = channel.unary_unary("/test.Echo/Say", Input.SerializeToString, Output.FromString)
    assert call(Input(value=b"hello"), timeout=20).value == b"hello"
    check = pool.FindServiceByName("grpc.health.v1.Health").methods_by_name["Check"]
    Input, Output = message_class(pool, check.input_type.full_name), message_class(pool, check.output_type.full_name)
    call = channel.unary_unary("/grpc.health.v1.Health/Check", Input.SerializeToString, Output.FromString)
    status = Output.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_name["SERVING"].number
    assert call(Input(service="grpc"), timeout=20).status == status

    # The rest of the questions, one stream for all.
    numbers, extension, by_name = ask(
        Request(all_extension_numbers_of_type="test.Word"),
        Request(file_containing_extension={"containing_type": "test.Word", "extension_number": 101}),
        Request(file_by_filename="test/more.proto"),
    )
    assert numbers.all_extension_numbers_response.base_type_name == "test.Word"
    assert list(numbers.all_extension_numbers_response.extension_number) == [101, 102]
    (more,) = by_name.file_descriptor_response.file_descriptor_proto
    assert extension.file_descriptor_response.file_descriptor_proto[0] == more
    NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
    assert error(file_containing_symbol="test.None") == NOT_FOUND
    assert error(file_by_filename="none.proto") == NOT_FOUND
    assert error(all_extension_numbers_of_type="test.None") == NOT_FOUND
    assert error(file_containing_extension={"containing_type": "test.Word", "extension_number": 9}) == NOT_FOUND
    try:
        channel.unary_unary("/" + package + ".ServerReflection/Nothing")(b"", timeout=20)
        raise AssertionError("there is no such method")
    except grpc.RpcError as failed:
        assert failed.code() == grpc.StatusCode.UNIMPLEMENTED, failed
print("through")
