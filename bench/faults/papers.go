package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"time"
)

// papers are a server's certificate, which may be replaced while it serves.
type papers struct {
	authority []byte // PEM
	root      *x509.Certificate
	key       *ecdsa.PrivateKey
	current   atomic.Pointer[tls.Certificate]
}

func newPapers() (*papers, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	p := &papers{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "faults"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	if p.root, err = x509.ParseCertificate(raw); err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	p.authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	return p, p.issue(time.Hour)
}

// issue replaces the certificate by one that ends after lifetime.
func (p *papers) issue(lifetime time.Duration) error {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "kafka"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, p.root, p.key.Public(), p.key)
	if err != nil {
		return fmt.Errorf("issue a certificate: %w", err)
	}
	p.current.Store(&tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: p.key})
	return nil
}

// server speaks TLS with the newest certificate.
func (p *papers) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.current.Load(), nil
		},
		SessionTicketsDisabled: true, // a resumed session would not show it
	}
}
