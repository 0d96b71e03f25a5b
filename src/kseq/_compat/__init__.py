"""Private or broken parts of TensorFlow, Keras and keras-tuner that kseq relies on.

One module for each library. Each entry names the version in which it was seen, why it
is needed, and the test that fails once it can go.
"""
