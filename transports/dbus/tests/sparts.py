"""Calls what sparts has on the bus, as its clients do, and ends the service: sparts.py ADDRESS BUS_NAME OBJECT"""

import re
import sys
import time
from xml.etree import ElementTree

import dbus
from dbus.bus import BusConnection

# As they are in sparts 0.7.3: what goes in, what comes out.
MEMBERS = {
    "org.sparts.Service": {
        "getOption": ("s", "v"),
        "setOption": ("sv", ""),
        "getOptions": ("", "a{sv}"),
        "listOptions": ("", "as"),
        "shutdown": ("", ""),
        "restart": ("", ""),
        "listTasks": ("", "as"),
        "uptime": ("", "x"),
    },
    "com.facebook.fb303.Service": {
        "getName": ("", "s"),
        "getVersion": ("", "s"),
        "getStatus": ("", "s"),
        "getStatusDetails": ("", "s"),
        "getCounters": ("", "a{sx}"),
        "getCounter": ("s", "x"),
        "setOption": ("ss", ""),
        "getOption": ("s", "s"),
        "getOptions": ("", "a{ss}"),
        "getCpuProfile": ("i", "s"),
        "aliveSince": ("", "x"),
        "reinitialize": ("", ""),
        "shutdown": ("", ""),
    },
    "org.sparts.FB303Service": {
        "setOptionV": ("sv", ""),
        "aliveSinceStr": ("", "s"),
    },
}

address, name, path = sys.argv[1:]
bus = BusConnection(address)


def at(element, interface):
    return dbus.Interface(bus.get_object(name, path + element), interface)


sparts = at("/sparts", "org.sparts.Service")
fb303 = at("/fb303", "com.facebook.fb303.Service")
more = at("/fb303", "org.sparts.FB303Service")


def refused(call, *arguments):
    try:
        call(*arguments)
    except dbus.DBusException as error:
        return error.get_dbus_name().rpartition(".")[2], error.get_dbus_message()
    assert False, "it is answered"


def raw(element, interface, member, signature, *arguments):
    """A call whose types are not those that the object tells."""
    return bus.call_blocking(name, path + element, interface, member, signature, arguments)


def members(element):
    """What it tells of itself."""
    text = at(element, "org.freedesktop.DBus.Introspectable").Introspect()
    told = {}
    for interface in ElementTree.fromstring(text).iter("interface"):
        for method in interface.iter("method"):
            args = {"in": "", "out": ""}
            for arg in method.iter("arg"):
                args[arg.get("direction", "in")] += arg.get("type")
            told.setdefault(interface.get("name"), {})[method.get("name")] = (args["in"], args["out"])
    return told


def is_a(value, of, expected):
    assert type(value) is of and value == expected, repr(value)


told = {**members("/sparts"), **members("/fb303")}
for interface, expected in MEMBERS.items():
    assert told[interface] == expected, told[interface]
print("introspection")

# org.sparts.Service: values have the types that they had.
is_a(sparts.getOption("max_price"), dbus.Int32, 8)
is_a(sparts.getOption("max-price"), dbus.Int32, 8)
is_a(sparts.getOption("big"), dbus.Int64, 1 << 40)
is_a(sparts.getOption("rate"), dbus.Double, 0.5)
is_a(sparts.getOption("is_open"), dbus.Boolean, False)
is_a(sparts.getOption("motto"), dbus.String, "__None__")
is_a(sparts.getOption("wares"), dbus.String, "nuts,bolts")
is_a(sparts.getOption("token"), dbus.String, "***")
options = sparts.getOptions()
is_a(options["max_price"], dbus.Int32, 8)
is_a(options["motto"], dbus.String, "__None__")
is_a(options["dbus_replace"], dbus.Boolean, False)
assert sorted(sparts.listOptions()) == sorted(options)
for value in 9, dbus.Byte(9), dbus.UInt16(9), dbus.Int64(9), "9", dbus.String("9", variant_level=1):
    sparts.setOption("max_price", value)
    is_a(sparts.getOption("max_price"), dbus.Int32, 9)
    sparts.setOption("max_price", "__None__")
    is_a(sparts.getOption("max_price"), dbus.Int32, 8)
sparts.setOption("rate", 0.25)
is_a(sparts.getOption("rate"), dbus.Double, 0.25)
sparts.setOption("is_open", True)
is_a(sparts.getOption("is_open"), dbus.Boolean, True)
sparts.setOption("motto", "cheap")
is_a(sparts.getOption("motto"), dbus.String, "cheap")
assert refused(sparts.getOption, "nothing") == ("InvalidArgs", "no option nothing")
assert refused(sparts.setOption, "nothing", 1)[0] == "InvalidArgs"
assert refused(sparts.setOption, "max_price", "many")[0] == "InvalidArgs"
assert refused(sparts.setOption, "max_price", [1]) == (
    "InvalidArgs",
    "an option is a text, a number or a truth, not ai",
)
is_a(sparts.getOption("max_price"), dbus.Int32, 8)
assert refused(raw, "/sparts", "org.sparts.Service", "getOption", "i", 5)[0] == "InvalidArgs"
assert sparts.listTasks() == ["dbus"]
assert type(sparts.uptime()) is dbus.Int64 and 0 <= sparts.uptime() < 3600
print("org.sparts.Service")

# com.facebook.fb303.Service
assert fb303.getName() == "my-shop"
assert fb303.getVersion() == "1.2.3"
assert fb303.getStatus() == "ALIVE"
assert fb303.getStatusDetails() == ""
assert fb303.getCounters()["dbus.running"] == 1
assert fb303.getCounter("dbus.running") == 1
assert refused(fb303.getCounter, "nothing") == ("InvalidArgs", "no counter nothing")
assert fb303.getOption("max_price") == "8"
assert fb303.getOption("is_open") == "true"
fb303.setOption("max_price", "10")
assert fb303.getOptions()["max_price"] == "10"
fb303.setOption("max_price", "__None__")
assert fb303.getOptions()["max_price"] == "8"
assert fb303.getOptions()["token"] == "***"
assert refused(fb303.getOption, "nothing") == ("InvalidArgs", "no option nothing")
assert refused(fb303.setOption, "max_price", "many")[0] == "InvalidArgs"
assert refused(fb303.getCpuProfile, 61)[1] == "a profile takes from 1 s to 60 s, not 61 s"
assert refused(raw, "/fb303", "com.facebook.fb303.Service", "getCounter", "i", 5)[0] == "InvalidArgs"
since = fb303.aliveSince()
assert type(since) is dbus.Int64 and 0 <= time.time() - since < 3600
fb303.reinitialize()
assert fb303.aliveSince() == since
print("com.facebook.fb303.Service")

# org.sparts.FB303Service
more.setOptionV("max_price", 11)
assert fb303.getOption("max_price") == "11"
more.setOptionV("is_open", False)
assert fb303.getOption("is_open") == "false"
assert refused(more.setOptionV, "max_price", {"a": 1})[0] == "InvalidArgs"
date = more.aliveSinceStr()
assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", date), date
assert date == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(since))
print("org.sparts.FB303Service")

fb303.shutdown()
print("shutdown")
