"""Files on disk: model folders, weights, records and states of training runs."""
