"""The miners' steps of a round after its submissions: check, vote, reveal."""
