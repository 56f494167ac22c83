"""``python -m edeposit.amqp.aleph.simulator``."""

import argparse
import logging
import sys
from pathlib import Path

from edeposit.amqp.aleph.exceptions import InvalidRecordException
from edeposit.amqp.aleph.simulator import AlephSimulator, Catalogue


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m edeposit.amqp.aleph.simulator",
        description="A small Aleph server with works in the public domain, for trying things out.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8991)
    parser.add_argument("--records", type=Path, help="folder of MARC records in XML to serve")
    parser.add_argument("-v", "--verbose", action="store_true", help="log each request")
    args = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if args.verbose else logging.INFO)
    try:
        catalogue = Catalogue.of_folder(args.records) if args.records else Catalogue.of_works()
        simulator = AlephSimulator(catalogue, args.host, args.port)
    except (InvalidRecordException, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    print(f"{len(catalogue.entries)} records at {simulator.url}; in another shell:")
    print(f"  export ALEPH_URL={simulator.url} ALEPH_EXPORT_URL={simulator.export_url}", flush=True)
    try:
        simulator.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
