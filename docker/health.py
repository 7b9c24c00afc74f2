#!/usr/bin/env python3
"""Whether the part of the cluster in this container is ready: `health.py master|worker|connect`, or, beside the Connect
server, whether there are so many executors: `health.py executors 2`."""

import json
import socket
import sys
import urllib.request


def page(address):
    return json.load(urllib.request.urlopen(f"http://{address}/json/", timeout=3))


def executors():
    """Those of the Connect server's application that run."""
    address = "127.0.0.1:4040/api/v1/applications"
    application = json.load(urllib.request.urlopen(f"http://{address}", timeout=3))[0]["id"]
    found = json.load(urllib.request.urlopen(f"http://{address}/{application}/executors", timeout=3))
    return sum(executor["id"] != "driver" and executor["isActive"] for executor in found)


part = sys.argv[1]
if part == "master":
    assert page("127.0.0.1:8080")["status"] == "ALIVE"
elif part == "worker":
    assert page("127.0.0.1:8081")["masterurl"], "no master yet"
elif part == "connect":
    # It listens, and has an executor to run a query on.
    socket.create_connection(("127.0.0.1", 15002), 3).close()
    assert executors() > 0, "no executor yet"
else:
    assert executors() == int(sys.argv[2]), "more or fewer executors"
