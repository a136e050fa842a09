"""The aggregator's half of a round, and the publisher's: collect, function key, decrypt, evaluate, block. Pure functions."""
