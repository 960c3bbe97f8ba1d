"""Takes everything that comes over TCP, or TLS: receiver.py FOLDER. See `silent`."""

import pathlib
import socket
import ssl
import sys
import threading

folder = pathlib.Path(sys.argv[1])
got = open(folder / "got", "ab", buffering=0)
tls = None
if (folder / "server.pem").exists():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem", folder / "server.key")


def take(connection):
    try:
        connection = tls.wrap_socket(connection, server_side=True) if tls else connection
        while piece := connection.recv(1 << 16):
            got.write(piece)
    except OSError:
        pass


with socket.create_server(("10.99.0.2", 6514)) as server:
    while True:
        threading.Thread(target=take, args=(server.accept()[0],), daemon=True).start()
