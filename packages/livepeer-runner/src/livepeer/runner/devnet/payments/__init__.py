"""Test money: keys, tickets, balances, and a signer. What is signed here is signed for real, with
throwaway keys that everybody knows; nothing of it is worth anything anywhere."""
