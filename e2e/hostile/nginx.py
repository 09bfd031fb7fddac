"""nginx, as the application behind the proxy and as the gateway beside it."""
import pathlib
import subprocess

COMMON = """\
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
}}
"""
APPLICATION = """
  access_log off;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {folder}/files;
    keepalive_requests 1000000000; keepalive_timeout {keepalive};
    location = /open/up {{ client_max_body_size 0; return 200 "hello"; }}
  }}
"""
GATEWAY = """
  upstream application {{ server 127.0.0.1:{application}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; listen 127.0.0.1:{http2} http2 backlog=4096;
    client_max_body_size 0;
    {more}
    location / {{ proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""


def start(spawn, name, folder, servers):
    """Starts one with these servers; `spawn` has to note the process."""
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    # Its workers may run as another user.
    folder.chmod(0o755)
    file = folder / "nginx.conf"
    file.write_text(COMMON.format(folder=folder, servers=servers))
    return spawn(name, ["nginx", "-e", folder / "error.log", "-c", file])


def application(spawn, folder, port, keepalive="75s"):
    files = pathlib.Path(folder) / "files"
    for place in ("open", "closed", "opaque", "signed", "basic"):
        (files / place).mkdir(parents=True)
        (files / place / "hello").write_text("hello")
    with open(files / "open/big", "wb") as big:
        big.truncate(16 << 20)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    return start(spawn, "application", folder, APPLICATION.format(folder=folder, port=port, keepalive=keepalive))


# Refuses by itself, as the proxy does.
REFUSING = "location /closed { return 401; }"


def gateway(spawn, folder, port, http2, application, more):
    return start(spawn, "nginx", folder, GATEWAY.format(port=port, http2=http2, application=application, more=more))
