"""CHECKS: what a computation and a fit are judged by."""
