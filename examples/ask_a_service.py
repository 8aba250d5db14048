"""A clip's tokens from a service, and a cache that it makes: what `codecsieve.Client` does.

    python examples/ask_a_service.py [--url http://localhost:8000] [--key cs_...] [--job ROOT/FOLDER] VIDEO

Begin with `codecsieve serve --root videos=FOLDER --root caches=FOLDER` in another terminal. This script imports neither
torch nor a decoder: `pip install 'codecsieve[client]'` is enough for it.
"""

from __future__ import annotations

import argparse
import sys

import codecsieve as cs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--key")
    parser.add_argument(
        "--job", help="A folder of videos below a root of the service, to make the cache caches:asked of."
    )
    parser.add_argument("--out", default="asked.png")
    arguments = parser.parse_args()

    with cs.Client(arguments.url, key=arguments.key) as client:
        try:
            clip = client.sieve(arguments.video, num_frames=32, k_keep=512)
        except cs.ServiceError as error:  # one line: what is wrong, and what to do
            sys.exit(f"{error} (status {error.status})")
        print(f"{clip.facts['codec']}, {clip.facts['frames']} frames; signals: {clip.facts['signals']}")
        print(f"positions {clip.positions.dtype} {clip.positions.shape}: slot, row, column")
        clip.show().save(arguments.out)

        if arguments.job:
            job = client.start_job("caches:asked", inputs=[arguments.job], num_frames=32, k_keep=512)
            done = job.wait(progress=lambda state: print(f"{state.state}: {state.done} of {state.total} clips"))
            for failure in (done.summary or {}).get("failures", []):
                print(f"  {failure['error']}")
            cache = client.cache("caches:asked")
            for row in cache.rows(where="status = 'ok'"):
                print(f"  {row['id']}  {row['uri']}  {len(cache.clip(row['id']).scores)} patches")


if __name__ == "__main__":
    main()
