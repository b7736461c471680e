"""Steps 3 to 8: what is done for a batch of requests at once, one file each, and what they share. `step.py`
runs one of them in the time that it has; `gateway/predict.py` has their order."""
