"""tls_peer: an SMTP server with STARTTLS whose faults can be chosen, and certificates.

`Peer` runs in threads of its own, one per connection, and notes every message with how it came. It
is as strict as it needs to be and no stricter: what it is told by plan, not by accident, is wrong.
"""

import os
import socket
import ssl
import threading
import warnings

from harness import PATIENCE_S, ROOT, free_port

FOLDER = os.path.join(ROOT, "tests", "certificates")


def certificate(name):
    return os.path.join(FOLDER, name + ".pem")


def key(name):
    return os.path.join(FOLDER, name + ".key")


def server_context(name, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(name), key(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old versions are what a test asks for
        for option, value in options.items():
            setattr(context, option, value)
    return context


def client_context(roots="ca", name=None):
    context = ssl.create_default_context(cafile=certificate(roots))
    if name:
        context.load_cert_chain(certificate(name), key(name))
    return context


class Peer:
    """fault: None, "no" (STARTTLS is not offered), a reply ("454 ...") to STARTTLS, "smuggle" (octets
    behind the 220), "stall" (no handshake comes), "close" (closed in place of a handshake),
    "garbage" (no TLS in place of a handshake), "vanish" (EHLO answered 500 under TLS)."""

    def __init__(self, name="server", fault=None, address="127.0.0.1", port=None, **options):
        self.context = server_context(name, **options)
        self.fault, self.port = fault, port or free_port()
        self.messages = []  # (recipient, TLS version or None, body)
        self.connections = self.handshakes = self.resumed = 0
        self.clear_commands = []
        self.sockets = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server((address, self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in list(self.sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.sockets.add(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.settimeout(PATIENCE_S)
        try:
            with connection:
                self.talk(connection)
        except (OSError, ValueError):
            pass
        finally:
            self.sockets.discard(connection)

    def talk(self, connection):
        connection.sendall(b"220 peer ESMTP\r\n")
        reader = connection.makefile("rb")
        secured = None
        recipients = []
        while line := reader.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if not secured:
                self.clear_commands.append(verb.decode())
            if verb == b"STARTTLS" and not secured:
                if self.fault and self.fault[0].isdigit():
                    connection.sendall(self.fault.encode() + b"\r\n")
                    continue
                secured = self.secure(connection)
                if not secured:
                    return
                reader, connection, recipients = secured.makefile("rb"), secured, []
            elif verb == b"EHLO" and secured and self.fault == "vanish":
                connection.sendall(b"554 5.7.1 go away\r\n")
            elif verb == b"EHLO":
                more = b"" if secured or self.fault == "no" else b"250-STARTTLS\r\n"
                connection.sendall(b"250-peer\r\n" + more + b"250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"RCPT":
                recipients.append(line.split(b"<")[1].split(b">")[0].decode())
                connection.sendall(b"250 ok\r\n")
            elif verb == b"DATA":
                connection.sendall(b"354 go\r\n")
                body = b""
                while (text := reader.readline()) != b".\r\n":
                    if not text:
                        return
                    body += text[1:] if text.startswith(b".") else text
                with self.lock:
                    version = secured.version() if secured else None
                    self.messages += [(each, version, body) for each in recipients]
                recipients = []
                connection.sendall(b"250 taken\r\n")
            elif verb == b"QUIT":
                connection.sendall(b"221 bye\r\n")
                if secured:
                    secured.unwrap().close()
                return
            else:
                connection.sendall(b"250 ok\r\n")

    def secure(self, connection):
        behind = b"250 and more\r\n" if self.fault == "smuggle" else b""
        connection.sendall(b"220 go\r\n" + behind)
        if self.fault == "stall":
            connection.recv(1)
            threading.Event().wait(PATIENCE_S)
        if self.fault == "garbage":
            connection.sendall(b"250 what is TLS?\r\n")
        if self.fault in ("close", "garbage", "smuggle"):
            connection.recv(4096)
            return None
        secured = self.context.wrap_socket(connection, server_side=True)
        self.sockets.add(secured)
        with self.lock:
            self.handshakes += 1
            self.resumed += secured.session_reused
        return secured
