"""The layers of images: tar archives of foreign make, unpacked below a folder of ours and nowhere else.

`streams` reads what may be compressed, within bounds, and says its digest; `zstd` is one of its codecs. `tar` reads
members, `beneath` opens what lies below a folder, and `unpack` writes members there in the form that an overlay's lower
layers have.
"""
