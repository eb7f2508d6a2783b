// Package secure makes TLS and authentication with Kafka of what a person configures:
// files, names and mechanisms. Package pgconnect does it for Postgres.
//
// # Promise
//
//   - A certificate is verified, against the system's roots or a CA of one's own,
//     unless somebody asks for the opposite by name.
//   - A secret is never sent in clear: PLAIN, OAUTHBEARER and AWS_MSK_IAM are refused
//     without TLS. SCRAM sends none.
//   - Files are read again for each connection, so that a certificate, a password or
//     a token that was rotated is in use from the next one on. A file that cannot be
//     read then is an error of that connection, and the next one tries again.
//   - No error and no log holds a secret.
//
// # What it does not do
//
// Kerberos. OAuth flows: a token is read from a file, which an agent or Kubernetes
// keeps fresh.
package secure
