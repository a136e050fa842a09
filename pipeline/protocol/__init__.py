"""The messages of ndd-fe/1: frozen, validated on decode; signed JSON."""
