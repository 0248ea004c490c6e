#!/usr/bin/env python3
"""Readers that do not read: they join a room of a throng and then take nothing, or one byte a second.

Their receive buffers are as small as the kernel allows, so that they stand still from the beginning. What the server holds
for them is looked at once a second until SIGTERM: bytes the kernel has not delivered (tx_queue of /proc/net/tcp, sockets
that are closing included) and the work spaces of /metrics. Who is sent away comes back, unless told not to.
Prints `sat` when everybody sits for the first time, and a JSON object at the end. Only the standard library.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import struct
import sys
import time
import urllib.request

ESTABLISHED = 0x01


def token(user, secret):
    part = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"sub": user, "exp": int(time.time()) + 3600}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


class Reader:
    """One connection that has a seat and reads (almost) nothing from then on."""

    def __init__(self, name, server, room, secret, byte_a_second):
        self.name, self.server, self.room = name, server, room
        self.bearer, self.byte_a_second = token(name, secret), byte_a_second
        self.socket, self.port = None, None

    def sit(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.settimeout(30)
        self.socket.connect(self.server)
        self.port = self.socket.getsockname()[1]
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /ws HTTP/1.1",
            f"Host: {self.server[0]}:{self.server[1]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Protocol: throng.v1.json",
            f"Authorization: Bearer {self.bearer}",
        ]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.expect(b'"type":"welcome"')
        join = json.dumps({"type": "join", "id": 1, "room": self.room}).encode()
        mask = os.urandom(4)
        length = struct.pack("!BB", 0x81, 0x80 | len(join)) if len(join) < 126 else struct.pack("!BBH", 0x81, 0xFE, len(join))
        self.socket.sendall(length + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(join)))
        self.expect(b'"type":"reply"')
        self.socket.setblocking(False)

    def expect(self, words):
        heard = b""
        while words not in heard:
            more = self.socket.recv(4096)
            if not more:
                sys.exit(f"slow-reader: {self.name} was not let in: {heard!r}")
            heard += more

    def sip(self):
        """One byte, if there is one."""
        try:
            self.socket.recv(1)
        except OSError:
            pass  # Nothing there, or ended: the next look at the kernel's table says which.

    def leave(self):
        if self.socket is not None:
            # A reset: whatever it never read goes with it.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()


def server_side(port):
    """Of each connection of the server's port: the peer's port, the state, and the bytes not delivered."""
    found = {}
    with open("/proc/net/tcp") as table:
        next(table)
        for line in table:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                peer = int(fields[2].split(":")[1], 16)
                found[peer] = (int(fields[3], 16), int(fields[4].split(":")[0], 16))
    return found


def metrics(admin):
    text = urllib.request.urlopen(f"http://{admin}/metrics", timeout=10).read().decode()
    wanted = {
        "work_bytes": 'throng_memory_bytes{table="work"}',
        "behind": "throng_readers_behind",
        "closed_slow": 'throng_closes_total{reason="slow"}',
        "gaps": "throng_gaps_total",
    }
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(values[sample]) for name, sample in wanted.items()}


def main():
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--server", required=True, help="HOST:PORT, an IPv4 address of this machine")
    ask.add_argument("--admin", required=True, help="HOST:PORT of the admin listener")
    ask.add_argument("--secret-file", required=True)
    ask.add_argument("--room", required=True)
    ask.add_argument("--never", type=int, default=0, help="so many read nothing")
    ask.add_argument("--byte-a-second", type=int, default=0, help="so many read one byte a second")
    ask.add_argument("--stay-away", action="store_true", help="who is sent away does not come back")
    args = ask.parse_args()
    host, port = args.server.rsplit(":", 1)
    with open(args.secret_file, "rb") as file:
        secret = file.read().rstrip(b"\r\n")
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))

    begun = time.monotonic()
    count = args.never + args.byte_a_second
    readers = [Reader(f"slow{n}", (host, int(port)), args.room, secret, n >= args.never) for n in range(count)]
    for reader in readers:
        reader.sit()
    said = {"readers": count, "sat_s": time.monotonic() - begun, "came_back": 0, "looks": 0}
    most = {"kernel_bytes": 0, "kernel_bytes_of_one": 0, "closing_bytes": 0, "work_bytes": 0.0, "behind": 0.0}
    print("sat", flush=True)
    while not over:
        time.sleep(1)
        mine = {reader.port: reader for reader in readers}
        table = server_side(int(port))
        # Of ports that are no reader's any more there may be sockets that are closing still.
        open_bytes = [bytes_ for peer, (state, bytes_) in table.items() if peer in mine and state == ESTABLISHED]
        closing = [bytes_ for peer, (state, bytes_) in table.items() if state != ESTABLISHED]
        seen = metrics(args.admin)
        most["kernel_bytes"] = max(most["kernel_bytes"], sum(open_bytes))
        most["kernel_bytes_of_one"] = max([most["kernel_bytes_of_one"], *open_bytes, *closing])
        most["closing_bytes"] = max(most["closing_bytes"], sum(closing))
        most["work_bytes"] = max(most["work_bytes"], seen["work_bytes"])
        most["behind"] = max(most["behind"], seen["behind"])
        said["closed_slow"], said["gaps"] = seen["closed_slow"], seen["gaps"]
        said["looks"] += 1
        for reader in readers:
            if table.get(reader.port, (0, 0))[0] == ESTABLISHED:
                if reader.byte_a_second:
                    reader.sip()
            elif not args.stay_away and not over:
                reader.leave()
                reader.sit()
                said["came_back"] += 1
    for reader in readers:
        reader.leave()
    print(json.dumps(said | {"most": most}), flush=True)


main()
