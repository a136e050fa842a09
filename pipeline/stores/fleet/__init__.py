"""The ledger of a miner's fleet."""
