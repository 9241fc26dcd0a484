"""A mail server that takes everything and keeps nothing, as fast as Python can.

`python -m benchmarks.smtp_sink [CERTIFICATE]` prints its port, and ends with its standard input;
then it prints how many mails it took, and for how many recipients. With a
certificate it speaks TLS from the first byte.
"""

import socket
import ssl
import sys
import threading
from collections import Counter

_taken: Counter[bytes] = Counter()
_REPLIES = {
    b"ehlo": b"250-sink\r\n250-PIPELINING\r\n250 SIZE 50000000\r\n",
    b"data": b"354 go on\r\n",
    b"quit": b"221 bye\r\n",
}


def _talk(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as lines:
        connection.sendall(b"220 sink\r\n")
        recipient = b""
        while line := lines.readline():
            verb = line[:4].lower()
            if verb == b"rcpt":
                recipient = line
            connection.sendall(_REPLIES.get(verb, b"250 ok\r\n"))
            if verb == b"data":
                while lines.readline() != b".\r\n":
                    pass
                _taken[recipient] += 1
                connection.sendall(b"250 2.0.0 taken\r\n")


def _serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listener.accept()
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        threading.Thread(target=_talk, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    context = None
    if sys.argv[1:]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(listener, context), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
    print(_taken.total(), len(_taken), flush=True)
