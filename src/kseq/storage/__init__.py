"""Files on disk: model folders, records and states of training runs."""
