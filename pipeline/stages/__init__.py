"""The seven stages, one file each: fetch, data, train, compress, commit, encrypt, submit. Siblings never import each other."""
