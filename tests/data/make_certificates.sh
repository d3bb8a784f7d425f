#!/usr/bin/env bash
# Makes the certificates of tests/data/tls anew. Run by hand, only when one of them has to change;
# the results are committed, valid to the end of 2099, and the key of the authority is thrown away.
set -euo pipefail

readonly names='subjectAltName = DNS:localhost, DNS:mail.example.test, DNS:mta-sts.example.test, IP:127.0.0.1, IP:::1'
readonly begin=20200101000000Z
readonly end=20991231235959Z

out=$(cd "$(dirname "$0")" && pwd)/tls
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# openssl ca, unlike openssl x509, takes both dates as they are: the expired one needs that.
cat > openssl.cnf <<'CNF'
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = authority
[authority]
database = index.txt
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = policy
[policy]
commonName = supplied
CNF
: > index.txt

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

# sign NAME COMMON-NAME FROM TO [CA-OPTIONS...]; the extensions come from standard input.
sign() {
    local name=$1 common_name=$2 from=$3 to=$4
    shift 4
    [[ -f $name.key ]] || new_key "$name.key"
    openssl req -new -config openssl.cnf -key "$name.key" -subj "/CN=$common_name" -out "$name.csr"
    openssl ca -batch -notext -config openssl.cnf -in "$name.csr" -out "$name.pem" \
        -startdate "$from" -enddate "$to" -extfile /dev/stdin "$@"
}

server_extensions() {
    printf '%s\n' 'basicConstraints = critical, CA:FALSE' 'keyUsage = critical, digitalSignature' \
        'extendedKeyUsage = serverAuth' 'subjectKeyIdentifier = hash' 'authorityKeyIdentifier = keyid' "$@"
}

printf '%s\n' 'basicConstraints = critical, CA:TRUE' 'keyUsage = critical, keyCertSign, cRLSign' \
    'subjectKeyIdentifier = hash' |
    sign ca 'mailproto test authority' $begin $end -selfsign -keyfile ca.key

by_ca=(-cert ca.pem -keyfile ca.key)
server_extensions "$names" | sign server mail.example.test $begin $end "${by_ca[@]}"
server_extensions "$names" | sign expired mail.example.test 20200101000000Z 20200201000000Z "${by_ca[@]}"
server_extensions 'subjectAltName = DNS:wrong.example.test' |
    sign wrong-name wrong.example.test $begin $end "${by_ca[@]}"
server_extensions | sign name-in-cn-only localhost $begin $end "${by_ca[@]}"
printf '%s\n' 'basicConstraints = critical, CA:FALSE' 'subjectKeyIdentifier = hash' "$names" |
    sign self-signed mail.example.test $begin $end -selfsign -keyfile self-signed.key
printf '%s\n' 'basicConstraints = critical, CA:FALSE' 'subjectKeyIdentifier = hash' "$names" |
    sign not-yet-valid mail.example.test 20991201000000Z $end -selfsign -keyfile not-yet-valid.key

rm ca.key
cp ./*.key "$out"
for name in ca server expired wrong-name name-in-cn-only self-signed not-yet-valid; do cp "$name.pem" "$out"; done
chmod 600 "$out"/*.key
