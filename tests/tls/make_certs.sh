#!/bin/sh
# Makes every certificate the tests of TLS need, good and bad, with openssl: make_certs.sh DIRECTORY. A second or two; nothing of it is secret.
#
#   root -> issuer -> NAME.pem (with the issuer behind it) and NAME.key          other -> other-*.pem: a CA that nobody trusts
#   root -> issuer -> deep -> client-deep.pem: a chain of three
#   ca.pem: root; cas.pem: and issuer; crl.pem: what root and issuer have revoked; crl-later.pem: and client-later
#   ocsp-good.der, ocsp-old.der (has expired): about server; ocsp-staple.der: about staple, which demands one; ocsp-revoked.der: about revoked
set -eu
out=$1
tools=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
cd "$out"
[ ! -e done ] || exit 0
export OPENSSL_CONF="$PWD/openssl.cnf"

section() {
	cat <<END
[ca_$1]
database = $1.index
serial = $1.serial
new_certs_dir = .
certificate = $1.crt
private_key = $1.key
default_md = sha256
default_days = 3650
default_crl_days = 3650
policy = any
unique_subject = no
[x_$1]
END
}

{
	echo "[req]
distinguished_name = name
[name]
[any]
commonName = supplied
[v3_ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[v3_leaf]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid"
	for ca in root issuer deep other; do section "$ca"; done
} > openssl.cnf

key() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

# ca NAME SIGNER
ca() {
	key "$1"
	: > "$1.index"
	echo 01 > "$1.serial"
	openssl req -new -key "$1.key" -subj "/CN=hillock test $1" -out "$1.csr"
	self=
	[ "$1" != "$2" ] || self=-selfsign
	openssl ca -batch -notext $self -name "ca_$2" -keyfile "$2.key" -extensions v3_ca -in "$1.csr" -out "$1.crt" 2> log || { cat log; exit 1; }
}

# leaf NAME SIGNER PURPOSE SAN [options of openssl ca]
leaf() {
	name=$1 signer=$2 purpose=$3 san=$4
	shift 4
	key "$name"
	openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
	{
		cat openssl.cnf
		printf '[leaf]\nbasicConstraints = CA:FALSE\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = %s\n' "$purpose"
		printf 'subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n'
		[ -z "${more:-}" ] || echo "$more"
		[ -z "$san" ] || printf 'subjectAltName = %s\n' "$san"
	} > leaf.cnf
	openssl ca -config leaf.cnf -batch -notext -name "ca_$signer" -extensions leaf "$@" -in "$name.csr" -out "$name.crt" 2> log || { cat log; exit 1; }
	cat "$name.crt" "$signer.crt" > "$name.pem"
}

ca root root
ca issuer root
ca deep issuer
ca other other
cp root.crt ca.pem
cat root.crt issuer.crt > cas.pem # whoever checks a revocation list needs the certificate of who issued it
here=DNS:localhost,IP:127.0.0.1,IP:::1
leaf server issuer serverAuth "$here"
leaf server2 issuer serverAuth "$here"
leaf expired issuer serverAuth "$here" -startdate 20200101000000Z -enddate 20200201000000Z
leaf early issuer serverAuth "$here" -startdate 20900101000000Z -enddate 20910101000000Z
leaf elsewhere issuer serverAuth DNS:elsewhere.example,IP:192.0.2.1
leaf purpose issuer clientAuth "$here"
leaf revoked issuer serverAuth "$here"
leaf other-server other serverAuth "$here"
leaf client issuer clientAuth DNS:worker.example,email:w@example.com,URI:spiffe://example.com/worker
leaf client-dns issuer clientAuth email:w@example.com,DNS:worker.example
leaf client-email issuer clientAuth email:w@example.com
leaf client-cn issuer clientAuth ""
leaf client-expired issuer clientAuth URI:spiffe://example.com/old -startdate 20200101000000Z -enddate 20200201000000Z
leaf client-early issuer clientAuth URI:spiffe://example.com/new -startdate 20900101000000Z -enddate 20910101000000Z
leaf client-purpose issuer serverAuth URI:spiffe://example.com/server
leaf client-revoked issuer clientAuth URI:spiffe://example.com/revoked
leaf client-later issuer clientAuth URI:spiffe://example.com/later
leaf client-deep deep clientAuth URI:spiffe://example.com/deep
cat issuer.crt >> client-deep.pem
more="tlsfeature = status_request"
leaf staple issuer serverAuth "$here"
more=
leaf other-client other clientAuth URI:spiffe://example.com/other
for name in self-server self-client; do
	key "$name"
	openssl req -new -x509 -days 3650 -key "$name.key" -subj "/CN=$name" -out "$name.pem"
done
for name in revoked client-revoked; do openssl ca -name ca_issuer -revoke "$name.crt" 2> log || { cat log; exit 1; }; done
for name in root issuer; do openssl ca -name "ca_$name" -gencrl 2> log || { cat log; exit 1; }; done > crl.pem
openssl ca -name ca_issuer -revoke client-later.crt 2> log || { cat log; exit 1; }
for name in root issuer; do openssl ca -name "ca_$name" -gencrl 2> log || { cat log; exit 1; }; done > crl-later.pem
for pair in server:good staple:staple revoked:revoked; do
	openssl ocsp -index issuer.index -rsigner issuer.crt -rkey issuer.key -CA issuer.crt -issuer issuer.crt -cert "${pair%:*}.crt" \
		-ndays 3650 -no_nonce -respout "ocsp-${pair#*:}.der" > log 2>&1 || { cat log; exit 1; }
done
python3 "$tools/old_ocsp.py" ocsp-good.der issuer.key > ocsp-old.der
: > done
