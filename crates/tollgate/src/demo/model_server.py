"""llama.cpp's server on a free loopback port, until stdin is closed. Argument: the folder of the installation."""

import pathlib
import socket
import sys

import xllamacpp

weights = next(pathlib.Path(sys.argv[1], "weights").rglob("*.gguf"))
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
parameters = xllamacpp.CommonParams()
parameters.model.path = str(weights)
parameters.n_ctx = 4096
parameters.n_parallel = 2
parameters.cpuparams.n_threads = 2
parameters.port = port
server = xllamacpp.Server(parameters)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
