"""Who watches: packet taps, kernel events, hop stories. Reads, and never writes anything.

Nothing lives here yet; this room is for what looks at a lab's packets from outside its programs.
"""
