package listener

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

const (
	// authorityYears is how long a local authority lasts: rolling one out to
	// every client is work.
	authorityYears = 10
	// serverDays is the longest life of a server's certificate that Apple's
	// clients take from a private authority.
	serverDays = 825
	// skew lets a client whose clock is late take a certificate at once.
	skew = time.Hour
)

// ErrScope is returned for a name that an authority was not made for.
var ErrScope = errors.New("the authority was not made for this name")

// Authority is a local certificate authority for one site: an ECDSA key on
// P-256 and a certificate which, by critical name constraints (RFC 5280 section
// 4.2.1.10), is good for the names of that site only. Whoever steals its key can
// impersonate this site, and no other one.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority; site tells several apart in a list.
func newAuthority(site string, scope Scope, now time.Time) (*Authority, error) {
	if len(scope.Domains) == 0 || len(scope.Networks) == 0 {
		// An absent list would permit every name of its kind.
		return nil, errors.New("an authority needs a domain and a network")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	from := now.Add(-skew).UTC().Truncate(time.Second)
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"larder"}, CommonName: "larder CA " + site + " " + from.Format(time.DateOnly)},
		NotBefore: from, NotAfter: from.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         scope.Domains,
	}
	for _, p := range scope.Networks {
		template.PermittedIPRanges = append(template.PermittedIPRanges,
			&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate back: %w", err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// parseAuthority reads an authority from its two PEM files' content.
func parseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	pair, _, err := parsePair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("not an authority that larder has made")
	}
	return &Authority{cert: pair.Leaf, key: key}, nil
}

// issue signs a server's certificate for key. A certificate that a client would
// refuse is not handed out.
func (a *Authority) issue(names Names, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	if err := ValidAt(a.cert, now); err != nil {
		return nil, fmt.Errorf("the authority: %w", err)
	}
	from := now.Add(-skew).UTC().Truncate(time.Second)
	until := from.AddDate(0, 0, serverDays).Add(-time.Second)
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"larder"}, CommonName: "larder"},
		NotBefore: from, NotAfter: until,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:              names.Hosts,
	}
	for _, addr := range names.Addresses {
		template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the server's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate back: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.CANotAuthorizedForThisName {
			return nil, fmt.Errorf("%w: %s", ErrScope, invalid.Detail)
		}
		return nil, fmt.Errorf("check the server's certificate: %w", err)
	}
	return cert, nil
}

// namesOf reads back what a certificate stands for.
func namesOf(cert *x509.Certificate) Names {
	out := Names{Hosts: cert.DNSNames}
	for _, ip := range cert.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			out.Addresses = append(out.Addresses, addr.Unmap())
		}
	}
	return out
}

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return b.Bytes(), nil
}

// parseKey reads a key that encodeKey has written.
func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no PEM private key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return ec, nil
}
