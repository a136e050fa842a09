"""The ledger of an aggregator."""
