"""`conclave` for scripts: asks a `warm_server.py` for a process, and ends as that one ends.

`python -I -S warm_client.py SOCKET SCRIPT WORDS...`, where SCRIPT is one to run in place of
`conclave`, or `-`. This imports little, so that it begins at once.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    told, tells = os.pipe()
    script = None if sys.argv[2] == "-" else sys.argv[2]
    asked = {"words": sys.argv[3:], "env": dict(os.environ), "cwd": os.getcwd(), "script": script}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(sys.argv[1])
        socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2, tells])
        os.close(tells)
        with open(told) as lines:
            pid = int(lines.readline())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: os.kill(pid, number))
            status = os.waitstatus_to_exitcode(int(lines.readline()))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


main()
