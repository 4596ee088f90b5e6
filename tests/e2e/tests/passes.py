"""A parent that passes descriptors as systemd does: passes.py KIND[:NAME] .. [VARIABLE=VALUE] .. [no:VARIABLE] .. -- PROGRAM ARGUMENT ..

Kinds: tcp, unix=PATH, udp, bound, connection, file, closed, seqpacket. It says on stderr which address each has, and becomes the program.
The variables are those of sd_listen_fds(3); others, given after the kinds, replace them.
"""
import os
import socket
import sys

words = sys.argv[1:]
program = words[words.index("--") + 1:]
words = words[:words.index("--")]
kept, names = [], []
environment = dict(os.environ)
replaced, without = {}, []
for word in words:
    if word.startswith("no:"):
        without.append(word[3:])
        continue
    if word.isupper() or word.split("=")[0].isupper():
        variable, _, value = word.partition("=")
        replaced[variable] = value
        continue
    kind, _, name = word.partition(":")
    kind, _, path = kind.partition("=")
    address = ""
    if kind in ("tcp", "bound", "connection", "udp"):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        made.bind(("127.0.0.1", 0))
        if kind in ("tcp", "connection"):
            made.listen(100)
        address = "%s:%s" % made.getsockname()
        if kind == "connection":
            client = socket.create_connection(made.getsockname())
            made = made.accept()[0]
    elif kind in ("unix", "seqpacket"):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind == "unix" else socket.SOCK_SEQPACKET)
        made.bind(path)
        made.listen(100)
        address = path
    else:
        made = open("/dev/null")
    kept.append((kind, made))
    names.append(name or "unknown")
    print("passed %s %s on %s" % (kind, name, address), file=sys.stderr, flush=True)
# Above all numbers that are meant, before the first of these is filled.
high = [(kind, os.dup2(made.fileno(), 100 + place)) for place, (kind, made) in enumerate(kept)]
for place, (kind, number) in enumerate(high):
    if kind != "closed":
        os.dup2(number, 3 + place)
        os.set_inheritable(3 + place, True)
    else:
        os.closerange(3 + place, 4 + place)
    os.close(number)
environment.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=":".join(names))
environment.update(replaced)
for variable in without:
    environment.pop(variable, None)
os.execve(program[0], program, environment)
