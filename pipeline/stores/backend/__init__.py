"""The ledger of a backend."""
