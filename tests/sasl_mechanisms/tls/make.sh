#!/usr/bin/env bash
# Makes the certificates of this folder anew: run by hand, only when one of them has to change. Valid for 75 years.
set -euo pipefail
cd "$(dirname "$0")"

# A client's, signed by itself, which names ada@example.test.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout client.key -out client.pem -days 27400 \
    -subj '/CN=Ada' -addext 'subjectAltName = email:ada@example.test, DNS:ada.example.test' \
    -addext 'basicConstraints = critical, CA:FALSE' -addext 'extendedKeyUsage = clientAuth' 2>/dev/null

# One for each kind of signature; the keys are thrown away.
key=$(mktemp)
make() {
    openssl req -x509 -key "$key" -out "$1.pem" -days 27400 -subj "/CN=$1" "${@:2}" 2>/dev/null
}
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$key" 2>/dev/null
for hash in md5 sha1 sha224 sha256 sha384 sha512; do make "rsa-$hash" "-$hash"; done
make rsa-pss-sha384 -sha384 -sigopt rsa_padding_mode:pss
make rsa-pss-sha1 -sha1 -sigopt rsa_padding_mode:pss
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$key" 2>/dev/null
for hash in sha1 sha224 sha256 sha384 sha512; do make "ecdsa-$hash" "-$hash"; done
openssl genpkey -algorithm ED25519 -out "$key" 2>/dev/null
make ed25519
rm "$key"
