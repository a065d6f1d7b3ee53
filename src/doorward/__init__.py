"""Doorward: a layer-7 gateway between agent runtimes and the systems they reach.

Bytes become *Operations*; the *Guard* turns an Operation into a *Permit* or a *Refusal*; a Permit exists only after
its record is durable (one stated exception: plain allowed reads may be batched); and only a Permit lets bytes continue.
"""

__version__ = "0.1.0"
