"""secp256k1 in bulk: ints, bytes and arrays in and out, one contract (`contract.Kernel`), several implementations."""
