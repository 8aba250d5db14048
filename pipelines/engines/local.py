"""Jobs over worker processes: a worker that crashes, is killed, stops or hangs costs its own job and nothing else.

Every worker has a pipe to itself, so that one which dies half-way through an answer cannot garble or block
those of others; what is done about workers is left to `workforce`. What a job is, is left to the caller: a function and
its argument, which can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence

from codecsieve.pipelines.engines.base import Answer, Job, Lost
from codecsieve.pipelines.engines.workforce import START_SECONDS, Pending, Workforce


def run_jobs(
    functions: Sequence[Callable[[Job], Answer]],
    jobs: Iterable[Job],
    timeout: float,
    depth: int = 1,
    start_timeout: float = START_SECONDS,
) -> Generator[tuple[Job, Answer | Lost]]:
    """Do every job in one of the workers, one worker process a function; yield job and answer as each is done.

    A worker that has a job for longer than `timeout` seconds is killed, whatever it is at; seconds for which this
    process was stopped do not count, nor does a job whose answer has come by the time that is noticed. Jobs are taken
    from their iterable as workers become free. Closing the generator kills what still runs. Workers ignore an interrupt
    from the terminal: it is this process's to deal with.

    Args:
        functions: what each worker does with a job, to be pickled.
        jobs: to be pickled, too.
        timeout: seconds.
        depth: jobs that a worker does at once, each in a thread. Jobs that were with another in a worker that
            died, or that was killed, are tried again, each alone, so that only the one to blame is lost. A worker
            that dies three times in a row is not replaced if there are others, which take over its jobs.
        start_timeout: seconds that a worker may take until it is ready for a job. One that is not, or that ends before,
            is tried three times; then the run goes on without it.

    Raises WorkerError where no worker gets as far as its first job.
    """
    pending = Pending(jobs)
    crew: Workforce[Job, Answer] = Workforce(depth, timeout, start_timeout)
    try:
        for function in functions:
            crew.hire(function)
        while pending or crew.busy:
            done = crew.listen(pending)
            for able in crew.workers:  # one may be idle for want of a job that another has just lost
                pending.fill(able, depth, crew.clock.now)
            yield from done
            crew.dismiss_late()
    finally:
        crew.disband()
