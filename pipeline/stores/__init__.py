"""What is kept: ledgers (SQL), artifacts (folder or bucket), keys."""
