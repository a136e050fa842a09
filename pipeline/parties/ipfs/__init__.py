"""Files from IPFS, whoever serves them: every byte is held against the CID before it is believed.

    sources     asks a node's RPC and the gateways in turn
    rpc gateway what each is asked, as a stream of CAR bytes
    car         blocks out of that stream, each hashed
    assembly    the file: a walk from the CID that was asked for
    dag_pb      a node of the walk: its links, its data, its sizes
    cid varint  the encodings below

Two kinds of error. A source's fault is `Retryable`: the next source, or the same one later, may do better. What the CID itself
says, proved by its hashes (a directory, a file that is too large), is `Rejected`: no source can change it.
"""
