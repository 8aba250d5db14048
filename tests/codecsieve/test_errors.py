"""The kinds of errors: one base for all, and the built-in errors that callers have always caught them by."""

from __future__ import annotations

import pickle

import pytest

import codecsieve as cs
from codecsieve import cache, errors

BUILT_IN = {
    errors.ConfigError: ValueError,
    errors.OptionError: TypeError,
    errors.ManifestError: ValueError,
    errors.VideoError: ValueError,
    errors.EncoderError: ValueError,
    errors.WorkerError: RuntimeError,
    errors.TrainingError: ArithmeticError,
    errors.CacheError: Exception,
    errors.ServiceError: Exception,
}


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_kind_is_codecsieves_and_the_built_in_one(kind: type[errors.CodecsieveError]) -> None:
    assert issubclass(kind, errors.CodecsieveError)
    assert issubclass(kind, BUILT_IN[kind])
    error = pickle.loads(pickle.dumps(kind("clip.mp4: no such file")))  # as worker processes send it
    assert type(error) is kind
    assert str(error) == "clip.mp4: no such file"


def test_every_kind_is_listed_here() -> None:
    found = {
        thing for thing in vars(errors).values() if isinstance(thing, type) and thing.__module__ == errors.__name__
    }
    assert found == {errors.CodecsieveError, *BUILT_IN}


def test_where_users_know_them_from() -> None:
    assert cs.CacheError is cache.CacheError is errors.CacheError
    assert cs.VideoError is errors.VideoError
