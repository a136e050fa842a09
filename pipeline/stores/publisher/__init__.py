"""The ledger of a publisher."""
