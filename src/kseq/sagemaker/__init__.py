"""Amazon SageMaker's seq2seq: hyperparameters, container contract, RecordIO, messages.

Importing this package imports numpy alone: TensorFlow is imported by
`kseq.sagemaker.container` and `kseq.sagemaker.messages`.
"""

from kseq.sagemaker.recordio import (
    read_recordio,
    recordio_answers,
    recordio_request,
    write_recordio,
)

__all__ = [
    "read_recordio",
    "recordio_answers",
    "recordio_request",
    "write_recordio",
]
