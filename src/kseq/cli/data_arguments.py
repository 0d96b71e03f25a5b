"""The flags of a command that reads pairs of texts."""

from typing import Any

from kseq.cli.parsing import select_settings
from kseq.cli.usage_errors import UsageError, as_usage_errors
from kseq.config.data import DataSettings

SHORT_FLAGS = {
    "source": "-s",
    "target": "-t",
    "validation_source": "-vs",
    "validation_target": "-vt",
}


def read_data_settings(arguments: Any) -> DataSettings:
    """Returns the settings that specify the pairs of a command.

    Raises:
        UsageError: If no data is specified, or it is specified twice.
    """
    names = ("source", "target", "table", "ctf", "corpus")
    if not any(arguments[name] for name in names):
        raise UsageError(
            "specify the data with -s FILE and -t FILE, or with --table, --ctf or "
            "--corpus"
        )
    with as_usage_errors():
        settings = DataSettings(**select_settings(DataSettings, arguments))
        settings.kind  # noqa: B018 - raises if the data is specified twice
    return settings
