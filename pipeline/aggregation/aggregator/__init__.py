"""The aggregator's steps of a round."""
