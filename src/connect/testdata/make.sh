#!/bin/sh
# Makes the self-signed certificate that the TLS tests' server shows: for the name "localhost" only, valid for 100 years.
set -eu
cd "$(dirname "$0")"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout localhost.key -out localhost.pem
