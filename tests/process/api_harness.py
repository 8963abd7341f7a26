"""The applications' socket with a DIF of one process behind it, for programs on the C interface."""

import os
import signal

from harness import equal, roles


class Server:
    """The test server of a lab; what is started while it is there finds it."""

    def __init__(self, lab, *words):
        self.path = lab.path("api.sock")
        self.process = lab.process("api-server", [roles["api-server"], "--socket", self.path,
                                                  *words])
        self.process.wait_log("ready")
        os.environ["SLUICE_API"] = self.path

    def kill(self):
        self.process.kill()

    def end(self):
        """SIGTERM; what it counted."""
        self.process.signal(signal.SIGTERM)
        equal(self.process.wait(), 0, "exit code of the server")
        words = self.process.log().splitlines()[-1].split()
        return {name: int(value) for name, value in (word.split("=") for word in words)}
