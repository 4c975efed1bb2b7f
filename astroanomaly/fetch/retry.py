"""Try again what another try may help: after a wait that grows, within the limits of the host."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TypeVar

from astroanomaly.errors import AstroAnomalyError, FetchError, StorageError, UnreadableError
from astroanomaly.fetch.classify_errors import Problem, classify_error, is_disk_full
from astroanomaly.fetch.context import current, wait
from astroanomaly.fetch.down_hosts import await_host, note_answer, note_failure
from astroanomaly.fetch.host_limits import delay_requests, host_name, limit_requests
from astroanomaly.fetch.traffic import Traffic, add_traffic, count_attempt, current_attempt

__all__ = ["attempt"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


def attempt(call: Callable[[], T], *, host: str, what: str) -> T:
    """Make a call to a service within the limits of its host; repeat it while that may help.

    Worth another try are time-outs, broken connections, HTTP 408, 429 and 5xx, and a `FetchError` that says so, in
    whatever class requests, urllib, urllib3, pyvo, aiohttp or botocore wrap them. The wait doubles each time, with
    jitter; a longer ``Retry-After`` is obeyed, by all requests to the host. A call made inside another call is tried
    once: the outer one repeats it. A host that is down is left alone for a while; see `down_hosts`.

    Parameters
    ----------
    call
        Asks the service. It has to be safe to repeat.
    host
        The service's host or address; only its host counts.
    what
        What is asked for, as the message will name it.

    Raises
    ------
    FetchError
        If it failed for good, with the reason; also for an `UnreadableError` of the call or of what checks its answer.
    StorageError
        If our own disk is full.
    AstroAnomalyError
        Whatever else of that kind the call raises, as it is.
    """
    config = current()
    host = host_name(host)
    outer = current_attempt()
    tries = config.attempts if outer is None else 1
    number = 1
    while True:
        if outer is None:
            await_host(host, what)
        try:
            if outer is not None and outer.host == host:
                with count_attempt(host):
                    return call()
            with limit_requests(host), count_attempt(host):
                result = call()
            if outer is None:
                note_answer(host)
            return result
        except Exception as error:
            if isinstance(error, AstroAnomalyError) and not isinstance(error, FetchError | UnreadableError):
                raise
            if is_disk_full(error):
                raise StorageError(
                    f"{what} could not be kept: no space left; free some, or choose another folder with --keep. "
                    "What was finished is kept: run the same command again"
                ) from error
            problem = classify_error(error)
            if outer is None:
                note_failure(host, problem.reason) if problem.down else note_answer(host)
            if not problem.retryable or number == tries:
                raise _final_error(problem, host, what, number) from error
            pause = config.first_wait_s * 2 ** (number - 1) * random.uniform(0.5, 1.5)
            asked = min(problem.wait_s, config.longest_wait_s)
            pause = max(min(pause, config.longest_wait_s), asked)
            _log.info("%s: %s (%s); try %d in %.1f s", what, problem.reason, host, number + 1, pause)
        if asked:
            delay_requests(host, asked)
        wait(pause)
        add_traffic(Traffic(retries=1))
        number += 1


def _final_error(problem: Problem, host: str, what: str, tries: int) -> FetchError:
    """Make the error that ends the tries. Inside another call it stays short: the outer one says what and where."""
    outer = current_attempt()
    about = problem.reason if outer is not None and outer.host == host else f"{problem.reason} ({host})"
    message = about if outer is not None else f"{what}: {about}"
    if outer is None and problem.retryable:
        message += f"; tried {tries} times. Try again later: what was fetched is kept"
    return FetchError(
        message,
        retryable=problem.retryable,
        reason=about,
        status=problem.status,
        wait_s=problem.wait_s,
        down=problem.down,
    )
