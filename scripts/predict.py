"""Print the digit in each picture file, read by the running service."""

import argparse
import sys
from pathlib import Path

import requests
from service import CONFIG, ServiceError, predict, read_config


def main() -> int:
    """Return 0 if every picture was read, 1 if one was not."""
    parser = argparse.ArgumentParser(prog="scripts/predict", description=__doc__)
    parser.add_argument("pictures", metavar="FILE", nargs="+", type=Path, help="PNG, JPEG, WebP, BMP or GIF")
    parser.add_argument("--url", help="address of the inference API (that of config.properties)")
    options = parser.parse_args()
    try:
        address = (options.url or read_config(CONFIG)["inference_address"]).rstrip("/")
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1
    failures = 0
    with requests.Session() as session:
        for path in options.pictures:
            try:
                answer = predict(address, path.read_bytes(), session)
            except (OSError, ServiceError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                print(f"{path}: {reason}", file=sys.stderr)
                failures += 1
            else:
                doubt = "" if answer["certain"] else ", not certain"
                print(f"{path}: {answer['digit']} ({answer['confidence']:.1%}{doubt})", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
