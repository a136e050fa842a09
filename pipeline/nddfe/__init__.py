"""NDD-FE, hardened (docs/protocol.md, section 3 to 7): both parties' halves of masks, packing, proof, encryption, logarithm."""
