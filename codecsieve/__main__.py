"""The program `codecsieve`, and `python -m codecsieve`: loads the command line, which may be interrupted by then."""

from __future__ import annotations

import signal
import sys


def run() -> None:
    """Run the command line."""
    try:
        from codecsieve.cli import main
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one changes nothing
        print("codecsieve: interrupted; run the same command again", file=sys.stderr)
        sys.exit(130)
    main(prog_name="codecsieve")


if __name__ == "__main__":
    run()
