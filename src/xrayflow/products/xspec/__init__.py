"""TO XSPEC AND BACK: an answer as a chain and a script, a session of XSPEC as a fit."""

from xrayflow.products.xspec.bins import SessionFit, session_fit
from xrayflow.products.xspec.chain import CHAIN, chain_file
from xrayflow.products.xspec.known import KnownStatistic, known_statistic
from xrayflow.products.xspec.session import Session, read_session
from xrayflow.products.xspec.xcm import SCRIPT, script

__all__ = [
    "CHAIN",
    "SCRIPT",
    "KnownStatistic",
    "Session",
    "SessionFit",
    "chain_file",
    "known_statistic",
    "read_session",
    "script",
    "session_fit",
]
