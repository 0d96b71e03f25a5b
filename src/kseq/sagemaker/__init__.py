"""Amazon SageMaker's seq2seq: hyperparameters, container contract, RecordIO, messages.

Importing this package imports only numpy: `kseq.sagemaker.container` imports
TensorFlow.
"""

from kseq.sagemaker.messages import decode_recordio_response, encode_recordio_request
from kseq.sagemaker.recordio import read_recordio, write_recordio

__all__ = [
    "decode_recordio_response",
    "encode_recordio_request",
    "read_recordio",
    "write_recordio",
]
