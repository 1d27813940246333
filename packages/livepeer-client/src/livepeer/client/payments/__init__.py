"""Who signs and pays, with what, and what that has cost.

The seam is `signer.Signer`: it makes a payment for what an orchestrator asks (`Order`), whoever it
is: a remote signer (`remote_signer`), or a key of this process (`local_key`). Around it:
`challenge` (what is asked, checked), `budget` (what may be spent, and was), `account` (what is
asked of one session or request, and the payments made for it), `bill` (those on their way),
`exchange` (a request that is asked to pay, pays, and is sent again).
"""
