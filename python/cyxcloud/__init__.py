"""
Verified training data, streamed into tensors.

::

    import cyxcloud

    client = cyxcloud.DataStreamClient("localhost:50052")
    for batch in client.stream_batches(dataset_id="my-dataset", access_token="eyJ…", batch_size=32):
        images = batch.to_tensor()
        labels = batch.labels
"""

from .batch import Batch
from .client import DataStreamClient, PreparedStream
from .errors import (
    AbortedError,
    AlreadyExistsError,
    CanceledError,
    DataLossError,
    DataStreamError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    StateMismatch,
    UnauthenticatedError,
    UnavailableError,
    VerificationError,
)
from .iterator import BatchIterator
from .mixing import MixPosition, Mixture, MixturePlace, mix
from .options import ItemError
from .position import StreamPosition

__version__ = "0.1.0"

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "Batch",
    "BatchIterator",
    "CanceledError",
    "DataLossError",
    "DataStreamClient",
    "DataStreamError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "ItemError",
    "MixPosition",
    "Mixture",
    "MixturePlace",
    "NotFoundError",
    "PermissionDeniedError",
    "PreparedStream",
    "ResourceExhaustedError",
    "StateMismatch",
    "StreamPosition",
    "UnauthenticatedError",
    "UnavailableError",
    "VerificationError",
    "mix",
]
