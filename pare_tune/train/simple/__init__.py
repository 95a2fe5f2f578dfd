"""Simple models that a user would try first, fitted in seconds on the samples that trials are trained on.

They are torch modules, whoever fits them: kept as safetensors, never pickled, and a member of an ensemble like any
other model.
"""
