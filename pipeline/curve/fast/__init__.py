"""secp256k1 in bulk through numba: field arithmetic as LLVM IR, batch affine additions, tables. Read docs/curve.md first.

emission   LLVM building blocks          field_ifma, field_scalar, interleaved   field arithmetic
addition   one step of a batch addition  sweep      sums of table entries        power       inverse and root
scalars    arithmetic mod q              digits     recoding of masks and values
tables     of bases and of H             multiexp   Pippenger                    babies, giants  logarithms
cache      compiled code on disk         pool       threads                      kernel      the contract
"""
