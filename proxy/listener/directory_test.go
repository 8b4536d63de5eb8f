package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func names(t testing.TB, list ...string) Names {
	t.Helper()
	n, err := ParseNames(list)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func read(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := parseCertificates(text)
	if err != nil {
		t.Fatal(err)
	}
	return chain[0]
}

func TestCreate(t *testing.T) {
	d := DirectoryAt(filepath.Join(t.TempDir(), "deep", "tls"))
	now := time.Now()
	want := names(t, "Larder.corp.example", "*.mirror.example", "10.0.0.1", "2001:db8::7", "localhost", "127.0.0.1", "::1")
	issued, err := d.Create("builder", want, Scope{}, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{d.CA: 0o644, d.CAKey: 0o600, d.Cert: 0o644, d.Key: 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, mode)
		}
	}
	ca, leaf := read(t, d.CA), read(t, d.Cert)
	for _, cert := range []*x509.Certificate{ca, leaf} {
		if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s has a key of type %T", cert.Subject, cert.PublicKey)
		}
		if len(ca.SubjectKeyId) == 0 || string(leaf.AuthorityKeyId) != string(ca.SubjectKeyId) || cert.SerialNumber.BitLen() < 64 {
			t.Errorf("%s has serial %v, or the key ids do not lead to the authority", cert.Subject, cert.SerialNumber)
		}
	}
	if !ca.IsCA || !ca.MaxPathLenZero || !ca.PermittedDNSDomainsCritical || ca.NotAfter.Year() != now.Add(-skew).UTC().Year()+10 {
		t.Errorf("authority: CA %v, path %v, critical %v, until %v", ca.IsCA, ca.MaxPathLenZero, ca.PermittedDNSDomainsCritical, ca.NotAfter)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); leaf.IsCA || life >= 825*24*time.Hour || life < 824*24*time.Hour || !issued.NotAfter.Equal(leaf.NotAfter) {
		t.Errorf("server: CA %v, life %v, said %v", leaf.IsCA, life, issued.NotAfter)
	}
	pool := trust(t, d)
	for _, host := range []string{"larder.corp.example", "npm.mirror.example", "10.0.0.1", "[2001:db8::7]", "localhost", "127.0.0.1", "[::1]"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"corp.example", "registry.example", "10.0.0.2", "::2"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err == nil {
			t.Errorf("the certificate is good for %s", host)
		}
	}
	// Nothing is written over, whichever file is there.
	before, err := os.ReadFile(d.CA)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{d.CA, d.CAKey, d.Cert, d.Key} {
		if _, err := d.Create("builder", want, Scope{}, now); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), d.Exists()) {
			t.Errorf("Create over %s: %v", d.Exists(), err)
		}
		if after, err := os.ReadFile(d.CA); err == nil && string(after) != string(before) {
			t.Error("the authority was written over")
		}
		if err := os.Remove(left); err != nil {
			t.Fatal(err)
		}
	}
	if d.Exists() != "" {
		t.Errorf("%s is left", d.Exists())
	}
}

// The authority is good for its own site only, also for whoever has its key.
func TestConstraints(t *testing.T) {
	d := DirectoryAt(t.TempDir())
	permit, err := ParseScope([]string{".corp.example", "10.1.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create("x", names(t, "larder.example", "127.0.0.1"), permit, time.Now()); err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{
		"larder.example": true, "a.larder.example": true, "b.corp.example": true, "corp.example": true, "*.corp.example": true,
		"127.0.0.1": true, "10.1.255.3": true,
		"registry.example": false, "xlarder.example": false, "example": false, "*.example": false, "10.2.0.1": false, "::1": false, "127.0.0.2": false,
	}
	for name, ok := range tests {
		_, err := d.Renew(names(t, name), time.Now())
		if ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !errors.Is(err, ErrScope) {
			t.Errorf("%s: %v is not ErrScope", name, err)
		}
	}
	// A forged leaf outside of the scope, signed with the stolen key.
	key, err := parseKey(mustRead(t, d.CAKey))
	if err != nil {
		t.Fatal(err)
	}
	stolen := &Authority{cert: read(t, d.CA), key: key}
	if _, err := stolen.issue(names(t, "registry.example"), key, time.Now()); !errors.Is(err, ErrScope) {
		t.Errorf("a verifier took a name outside of the scope: %v", err)
	}
	if _, err := newAuthority("x", Scope{Domains: []string{"a"}}, time.Now()); err == nil {
		t.Error("an authority for every address was made")
	}
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRenew(t *testing.T) {
	d := DirectoryAt(t.TempDir())
	now := time.Now()
	if _, err := d.Create("x", names(t, "larder.example", "127.0.0.1"), Scope{}, now); err != nil {
		t.Fatal(err)
	}
	ca, was := mustRead(t, d.CA), read(t, d.Cert)
	later := now.AddDate(2, 3, 0) // the certificate has expired, the authority has not
	issued, err := d.Renew(names(t, "b.larder.example"), later)
	if err != nil {
		t.Fatal(err)
	}
	is := read(t, d.Cert)
	if got := issued.Names.Strings(); !slices.Equal(got, []string{"larder.example", "b.larder.example", "127.0.0.1"}) {
		t.Errorf("the names are %v", got)
	}
	if is.SerialNumber.Cmp(was.SerialNumber) == 0 || !is.NotAfter.After(was.NotAfter) || string(mustRead(t, d.CA)) != string(ca) {
		t.Errorf("serial %v to %v, end %v to %v", was.SerialNumber, is.SerialNumber, was.NotAfter, is.NotAfter)
	}
	if _, err := LoadPair(d.Cert, d.Key); err != nil {
		t.Error(err)
	}
	if _, err := is.Verify(x509.VerifyOptions{Roots: trust(t, d), DNSName: "b.larder.example", CurrentTime: later}); err != nil {
		t.Error(err)
	}
	// The last certificate does not outlive its authority, and none comes after.
	issued, err = d.Renew(Names{}, now.AddDate(9, 6, 0))
	if err != nil || issued.NotAfter.After(read(t, d.CA).NotAfter) {
		t.Errorf("%v until %v", err, issued.NotAfter)
	}
	if _, err := d.Renew(Names{}, now.AddDate(10, 1, 0)); !errors.Is(err, ErrExpired) {
		t.Errorf("an expired authority signs: %v", err)
	}
	// A removed key is made anew.
	key := mustRead(t, d.Key)
	if err := errors.Join(os.Remove(d.Key), os.Remove(d.Cert), os.WriteFile(d.Cert+".new", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Renew(names(t, "larder.example"), now); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPair(d.Cert, d.Key); err != nil || string(mustRead(t, d.Key)) == string(key) {
		t.Errorf("%v, same key %v", err, string(mustRead(t, d.Key)) == string(key))
	}
	for _, broken := range []string{d.Key, d.Cert, d.CAKey, d.CA} {
		text := mustRead(t, broken)
		put(t, broken, []byte("garbage"))
		var pair *PairError
		if _, err := d.Renew(Names{}, now); !errors.As(err, &pair) {
			t.Errorf("with a broken %s: %v", filepath.Base(broken), err)
		}
		put(t, broken, text)
	}
	// A foreign authority's key does not sign for this one.
	other := DirectoryAt(t.TempDir())
	if _, err := other.Create("y", names(t, "larder.example", "127.0.0.1"), Scope{}, now); err != nil {
		t.Fatal(err)
	}
	put(t, d.CAKey, mustRead(t, other.CAKey))
	if _, err := d.Renew(Names{}, now); err == nil {
		t.Error("a foreign key signed")
	}
}

// Create leaves nothing behind when it cannot finish.
func TestCreateCleansUp(t *testing.T) {
	d := DirectoryAt(t.TempDir())
	d.Cert = filepath.Join(filepath.Dir(d.Cert), "absent", "server.pem")
	if _, err := d.Create("x", names(t, "a", "127.0.0.1"), Scope{}, time.Now()); err == nil {
		t.Fatal("no error")
	}
	if left := d.Exists(); left != "" {
		t.Errorf("%s is left", left)
	}
}

func TestParseNames(t *testing.T) {
	n := names(t, "A.example", "a.example", "10.0.0.1", "::ffff:10.0.0.1", "[::1]", "*.b", "host_1")
	if got := strings.Join(n.Strings(), " "); got != "a.example *.b host_1 10.0.0.1 ::1" {
		t.Errorf("names are %s", got)
	}
	for _, bad := range []string{"", " ", "a b", "https://a", "a:443", "a/b", "*", "a.*", "*.*.a", "-a", "a-", "a..b", ".a", "a.", "10.0.0.256", "1", "fe80::1%eth0", "ä.example", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "aa", "10.0.0.0/8"} {
		if _, err := ParseNames([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	s, err := ParseScope([]string{"10.1.2.3/8", ".corp.example", "192.0.2.1"})
	if err != nil || !slices.Equal(s.Domains, []string{"corp.example"}) ||
		!slices.Equal(s.Networks, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}) {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := ParseScope([]string{"a b"}); err == nil {
		t.Error("a bad scope was taken")
	}
}

// FuzzNames: every name that is accepted gets a certificate which clients take
// for it.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"larder.example", "*.example", "10.0.0.1", "::1", "a_b", "LOCALHOST", "a.1x", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	key, _, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	base := names(f, "localhost", "127.0.0.1")
	now := time.Now()
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseNames([]string{s})
		if err != nil {
			return
		}
		again, err := ParseNames(n.Strings())
		if err != nil || !slices.Equal(again.Strings(), n.Strings()) {
			t.Fatalf("%q reads as %v and then as %v, %v", s, n.Strings(), again.Strings(), err)
		}
		ca, err := newAuthority("x", Scope{}.covering(base.with(n)), now)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.issue(n, key, now)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		host := strings.Replace(n.Strings()[0], "*", "x", 1)
		if err := cert.VerifyHostname(host); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	})
}
