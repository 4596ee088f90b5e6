"""Calls each member of org.interloop.Service by Python's own bindings, and listens to its signal: client.py ADDRESS NAME"""
import sys
import time

import dbus
import dbus.bus
import dbus.mainloop.glib
from gi.repository import GLib

address, name = sys.argv[1:]
PATH = "/org/interloop/Service"
PATIENCE = 20

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(address)
turn = GLib.MainContext.default().iteration


def until(what, holds):
    GLib.timeout_add(50, lambda: True)  # so that a turn ends
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "never: " + what
        turn(True)


def proxy():
    return dbus.Interface(bus.get_object(name, PATH), "org.interloop.Service")


def refused(call, error, text):
    try:
        call()
    except dbus.DBusException as raised:
        assert raised.get_dbus_name() == error, raised
        assert text in raised.get_dbus_message(), raised
    else:
        raise AssertionError("not refused")


heard = []
bus.add_signal_receiver(
    lambda *args: heard.append(args), "Transition", "org.interloop.Service", bus_name=name, path=PATH
)
service = proxy()

options = service.ListOptions()
assert "dbus-bus-name" in options and "shutdown-timeout" in options, options
values = service.GetOptions()
assert sorted(values) == sorted(options)
assert values["dbus-queue"] == "false", values
assert service.GetOption("dbus-bus-name") == "__None__"

service.SetOption("shutdown-timeout", "7s")
assert service.GetOption("shutdown-timeout") == "7s"
service.SetOption("shutdown-timeout", "__None__")
assert service.GetOption("shutdown-timeout") == "25s"
invalid = "org.freedesktop.DBus.Error.InvalidArgs"
refused(lambda: service.GetOption("nonsense"), invalid, "no option nonsense")
refused(lambda: service.SetOption("shutdown-timeout", "soon"), invalid, "soon")
refused(lambda: service.Nonsense(), "org.freedesktop.DBus.Error.UnknownMethod", "Nonsense")

tasks = service.ListTasks()
assert sorted(map(tuple, tasks)) == [("dbus", "running", 1), ("other", "running", 1)], tasks
assert isinstance(tasks[0][2], dbus.UInt32)
first = service.Uptime()
assert isinstance(first, float) and 0 < first < PATIENCE, first
assert service.Uptime() > first

# All tasks stop and start anew, the one on the bus too.
service.Restart()
until("a transition", lambda: any(seen[:3] == ("other", "running", "stopping") for seen in heard))
seen = next(seen for seen in heard if seen[:3] == ("other", "running", "stopping"))
assert isinstance(seen[3], str) and seen[3], seen
assert seen[4] == 1 and isinstance(seen[4], dbus.UInt32), seen
until("its second run", lambda: ("other", "running", 2) in [(seen[0], seen[2], seen[4]) for seen in heard])
assert ("dbus", "running", 2) in map(tuple, proxy().ListTasks())

proxy().Shutdown()
until("the name is free", lambda: not bus.name_has_owner(name))
print("all is well")
