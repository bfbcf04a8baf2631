"""The process of kvpress: performs one request after another until nobody sends any.

    python -m memollm.kvpress.inside <descriptor of a multiprocessing connection> <its argv>

The answer to a request is None, or why it is refused. Whatever else goes wrong ends the process.
"""

from __future__ import annotations

import logging
import sys
from multiprocessing.connection import Connection


def serve(connection: Connection) -> None:
    try:
        from memollm.kvpress.inside.models import PressModels
    except ImportError as error:
        connection.recv()
        connection.send(f"mode=kvpress is not possible here, kvpress cannot be imported: {error}")
        return
    logging.getLogger("kvpress").setLevel(logging.ERROR)  # what it warns of is refused here
    models = PressModels()
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            request.perform(models)
        except ValueError as refusal:
            connection.send(str(refusal))
        else:
            connection.send(None)


if __name__ == "__main__":
    connection = Connection(int(sys.argv[1]))
    sys.argv = sys.argv[2:]  # what a person typed
    try:
        serve(connection)
    except KeyboardInterrupt:  # of the terminal: the one who asks has said so
        sys.exit(130)
