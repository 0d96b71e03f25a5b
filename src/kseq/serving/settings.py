"""Settings of an HTTP service."""

from __future__ import annotations

import dataclasses

from kseq.config.checks import check_integer, check_number


@dataclasses.dataclass(frozen=True)
class ServingSettings:
    """Settings of an HTTP service.

    Args:
        beam_width: Beam width of `/invocations`; 1 is greedy search. Default: 5.
        max_batch: Maximum number of instances decoded together. Default: 64.
        max_wait: Maximum time in seconds that an instance waits for others to join
            its batch. Default: 0.001.
        max_queue: Maximum number of waiting instances. Further requests get the
            status 503. Default: 1024.
        max_instances: Maximum number of instances in a request. Default: 1024.
        max_source_length: Maximum number of source tokens, without `</s>`. Default:
            500.
        max_body: Maximum size of a request body in bytes. Default: 6 MiB, the limit
            of SageMaker.
        body_timeout: Maximum time to receive a body in seconds. Default: 30.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If one is out of range.

    Example:
        >>> from kseq.serving.settings import ServingSettings
        >>> ServingSettings(beam_width=1).max_batch
        64
    """

    beam_width: int = 5
    max_batch: int = 64
    max_wait: float = 0.001
    max_queue: int = 1024
    max_instances: int = 1024
    max_source_length: int = 500
    max_body: int = 6 * 1024 * 1024
    body_timeout: float = 30.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float":
                check_number(field.name, value)
            else:
                check_integer(field.name, value, 1)
