"""The one way to a ledger database: engine, session, lease, schema, migrations."""
