"""The daemon beside each edge and at the witness: the engines of ``dcctl.engines.agent``, driven."""
