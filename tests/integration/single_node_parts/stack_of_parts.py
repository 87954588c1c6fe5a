"""`python stack_of_parts.py DATA_DIR [NAME=MODULE ...]`: a real single_node whose services are the modules given."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from single_node.composition import run
from single_node.errors import SingleNodeError
from single_node.options import Options
from single_node.stack import ServiceDefinition

if __name__ == "__main__":
    parts = [argument.partition("=") for argument in sys.argv[2:]]
    definitions = tuple(ServiceDefinition(name, module, frozenset({"NATS_URL"})) for name, _, module in parts)
    try:
        asyncio.run(run(Options(Path(sys.argv[1]), as_json=True), definitions))
    except SingleNodeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
