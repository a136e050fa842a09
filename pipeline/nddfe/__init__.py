"""NDD-FE, hardened (PROTOCOL.md sections 3 to 7): both parties' halves of masks, packing, proof, encryption, logarithm."""
