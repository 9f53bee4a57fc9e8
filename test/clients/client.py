# One GET with Python's ssl; prints what was seen as JSON.
# Arguments: port, server name, file with the CA, path, TLS version (1.2 or 1.3), ALPN list (h2,http/1.1) or nothing.
import hashlib
import json
import socket
import ssl
import sys

port, name, ca, path, version, alpn = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = ssl.TLSVersion["TLSv" + version.replace(".", "_")]
if alpn:
    context.set_alpn_protocols(alpn.split(","))
with socket.create_connection(("127.0.0.1", int(port))) as plain:
    with context.wrap_socket(plain, server_hostname=name) as connection:
        host, own_port = connection.getsockname()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        response = b"".join(iter(lambda: connection.recv(65536), b""))
        head, body = response.split(b"\r\n\r\n", 1)
        seen = {
            "client": f"{host}:{own_port}",
            "tls": connection.version(),
            "alpn": connection.selected_alpn_protocol() or "",
            "http": head.split(b" ", 1)[0].decode(),
            "fingerprint": hashlib.sha256(connection.getpeercert(binary_form=True)).hexdigest(),
        }
# A chunked body has its one line between lines of lengths.
seen["body"] = next(json.loads(line) for line in body.splitlines() if line.startswith(b"{"))
print(json.dumps(seen))
