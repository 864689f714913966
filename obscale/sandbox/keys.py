"""RSA keys for simulated agents, 512-bit ones included.

`cryptography` loads and uses 512-bit keys but refuses to generate them, so the primes for small
keys are found here. Such keys are weak on purpose: obshell before 4.4.2.0 used nothing better.
"""

import base64
import secrets
from math import gcd
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PUBLIC_EXPONENT: Final = 65537
LIBRARY_MINIMUM_BITS: Final = 1024
"""Smallest size `cryptography` 43 and later generates by itself."""
MILLER_RABIN_ROUNDS: Final = 40
SMALL_PRIMES: Final = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


def make_key(bits: int) -> rsa.RSAPrivateKey:
    """A fresh private key of 512, 1024 or 2048 bits (or any even size from 512 up)."""
    if bits >= LIBRARY_MINIMUM_BITS:
        return rsa.generate_private_key(PUBLIC_EXPONENT, bits)
    while True:
        p, q = _prime(bits // 2), _prime(bits // 2)
        phi = (p - 1) * (q - 1)
        if p != q and (p * q).bit_length() == bits and gcd(PUBLIC_EXPONENT, phi) == 1:
            break
    d = pow(PUBLIC_EXPONENT, -1, phi)
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(PUBLIC_EXPONENT, p * q),
    )
    return numbers.private_key()


def served_public_key(key: rsa.RSAPrivateKey) -> str:
    """The public half as `GET /api/v1/secret` serves it: Base64 of PKCS#1 DER.

    Source: ob/agent/lib/crypto/rsa.go, 4.5.0.0.
    """
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return base64.b64encode(der).decode("ascii")


def _prime(bits: int) -> int:
    """A random prime whose two top bits are set, so that two of them fill the modulus."""
    top = 0b11 << (bits - 2)
    while True:
        candidate = secrets.randbits(bits) | top | 1
        if all(candidate % small for small in SMALL_PRIMES) and _is_prime(candidate):
            return candidate


def _is_prime(number: int) -> bool:
    """Miller-Rabin with random bases: wrong with a chance below 4 to the power -40."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd //= 2
        twos += 1
    for _ in range(MILLER_RABIN_ROUNDS):
        x = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = pow(x, 2, number)
            if x == number - 1:
                break
        else:
            return False
    return True
