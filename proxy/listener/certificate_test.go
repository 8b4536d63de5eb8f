package listener

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// writePair writes a self-signed pair with a serial number and a life.
func writePair(t testing.TB, certFile, keyFile string, serial int64, from, until time.Time) {
	t.Helper()
	key, text, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: from, NotAfter: until, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	put(t, certFile, encodeCertificate(cert))
	put(t, keyFile, text)
}

// put replaces a file by rename, as renewing tools do.
func put(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name+".tmp", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		t.Fatal(err)
	}
}

// watched is a certificate whose clock and looks a test controls.
type watched struct {
	*Certificate
	t         *testing.T
	cert, key string
	now       time.Time
	stats     int
	log       logBuffer
}

func watch(t *testing.T) *watched {
	dir := t.TempDir()
	w := &watched{t: t, cert: filepath.Join(dir, "c.pem"), key: filepath.Join(dir, "k.pem"), now: time.Now()}
	w.write(1)
	var err error
	w.Certificate, err = NewCertificate(CertificateConfig{
		CertFile: w.cert, KeyFile: w.key, Every: time.Minute, Logger: w.log.logger(),
		Now:  func() time.Time { return w.now },
		Stat: func(name string) (fs.FileInfo, error) { w.stats++; return os.Stat(name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watched) write(serial int64) {
	w.t.Helper()
	writePair(w.t, w.cert, w.key, serial, w.now.Add(-time.Hour), w.now.Add(time.Hour))
}

// shakes does a handshake after some time and checks which pair it gets.
func (w *watched) shakes(after time.Duration, want int64) {
	w.t.Helper()
	w.now = w.now.Add(after)
	pair, err := w.get(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := pair.Leaf.SerialNumber.Int64(); got != want {
		w.t.Errorf("serial %d is served, want %d", got, want)
	}
}

func TestReload(t *testing.T) {
	w := watch(t)
	w.shakes(0, 1)
	w.write(2)
	w.stats = 0
	for range 59 {
		w.shakes(time.Second, 1)
	}
	if w.stats != 0 {
		t.Errorf("%d looks at the files within the interval", w.stats)
	}
	w.shakes(time.Second, 2)
	if w.stats != 2 || w.log.count("event=tls_reloaded") != 1 {
		t.Errorf("%d looks, %d words of a reload", w.stats, w.log.count("event=tls_reloaded"))
	}
	w.shakes(time.Minute, 2)
	if w.log.count("event=tls_reloaded") != 1 {
		t.Error("unchanged files were loaded again")
	}
	w.shakes(-time.Hour, 2) // a clock that is set back does not stop the looking
	w.now = w.now.Add(time.Hour)
	w.write(3)
	w.shakes(time.Minute, 3)
}

// What is broken keeps the former pair in use and is said once.
func TestReloadKeepsTheFormerPair(t *testing.T) {
	now := time.Now()
	tests := map[string]func(w *watched){
		"garbage":      func(w *watched) { put(w.t, w.cert, []byte("garbage")) },
		"empty":        func(w *watched) { put(w.t, w.cert, nil) },
		"no key":       func(w *watched) { os.Remove(w.key) },
		"no files":     func(w *watched) { os.Remove(w.key); os.Remove(w.cert) },
		"another key":  func(w *watched) { writePair(w.t, w.cert+"2", w.key, 2, now, now.Add(time.Hour)) },
		"another cert": func(w *watched) { writePair(w.t, w.cert, w.key+"2", 2, now, now.Add(time.Hour)) },
		"expired":      func(w *watched) { writePair(w.t, w.cert, w.key, 2, now.Add(-2*time.Hour), now.Add(-time.Hour)) },
		"early":        func(w *watched) { writePair(w.t, w.cert, w.key, 2, now.Add(2*time.Hour), now.Add(3*time.Hour)) },
		"a directory":  func(w *watched) { os.Remove(w.key); os.Mkdir(w.key, 0o700) },
	}
	for name, breaks := range tests {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			breaks(w)
			w.shakes(time.Minute, 1)
			w.shakes(time.Minute, 1)
			if n := w.log.count("event=tls_reload_failed"); n != 1 {
				t.Errorf("%d complaints, want one", n)
			}
			if err := w.Reload(w.cert, w.key); err == nil {
				t.Error("Reload took it")
			}
			if err := w.Reload(w.cert+"-absent", w.key); err == nil {
				t.Error("Reload took absent files")
			}
			w.shakes(0, 1)
			os.Remove(w.key) // if it is a directory
			w.write(3)
			w.shakes(time.Minute, 3)
		})
	}
}

// Another pair of files is followed from then on.
func TestReloadElsewhere(t *testing.T) {
	w := watch(t)
	cert, key := w.cert+"2", w.key+"2"
	writePair(t, cert, key, 2, w.now.Add(-time.Hour), w.now.Add(time.Hour))
	if err := w.Reload(cert, key); err != nil {
		t.Fatal(err)
	}
	w.shakes(0, 2)
	w.write(3)
	w.shakes(time.Minute, 2)
	writePair(t, cert, key, 4, w.now.Add(-time.Hour), w.now.Add(time.Hour))
	w.shakes(time.Minute, 4)
}

// A symbolic link that leads elsewhere, as mounted secrets change, is seen even
// if the new file is as old and as large.
func TestReloadFollowsLinks(t *testing.T) {
	w := watch(t)
	dir := t.TempDir()
	for _, v := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		writePair(t, filepath.Join(dir, v, "c"), filepath.Join(dir, v, "k"), int64(len(v)), w.now.Add(-time.Hour), w.now.Add(time.Hour))
	}
	writePair(t, filepath.Join(dir, "2", "c"), filepath.Join(dir, "2", "k"), 7, w.now.Add(-time.Hour), w.now.Add(time.Hour))
	link := filepath.Join(dir, "live")
	if err := os.Symlink("1", link); err != nil {
		t.Fatal(err)
	}
	if err := w.Reload(filepath.Join(link, "c"), filepath.Join(link, "k")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1/c", "1/k", "2/c", "2/k"} {
		if err := os.Chtimes(filepath.Join(dir, name), w.now, w.now); err != nil {
			t.Fatal(err)
		}
	}
	w.shakes(time.Minute, 1)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("2", link); err != nil {
		t.Fatal(err)
	}
	w.shakes(time.Minute, 7)
}

// Handshakes and reloads beside each other: one looks, none waits for a broken
// pair to get well.
func TestReloadBesideHandshakes(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	write := func(serial int64) {
		writePair(t, cert, key, serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	}
	write(1)
	c, err := NewCertificate(CertificateConfig{CertFile: cert, KeyFile: key, Every: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				pair, err := c.get(nil)
				if err != nil || !pair.Leaf.PublicKey.(*ecdsa.PublicKey).Equal(pair.PrivateKey.(*ecdsa.PrivateKey).Public()) {
					t.Error("a handshake got half a pair")
					return
				}
			}
		})
	}
	for i := range int64(20) {
		write(i + 2)
	}
	close(stop)
	wg.Wait()
	if pair, _ := c.get(nil); pair.Leaf.SerialNumber.Int64() != 21 {
		t.Errorf("serial %d at the end", pair.Leaf.SerialNumber)
	}
}

// A running node takes a renewed certificate without a word to it.
func TestReloadWhileServing(t *testing.T) {
	d, pool := site(t)
	c, err := NewCertificate(CertificateConfig{CertFile: d.Cert, KeyFile: d.Key, Every: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	l, _ := start(t, Config{Certificate: c, HTTP3: true}, echo)
	serial := func(i int) string {
		resp, _, err := clients(t, pool)[i].do(t.Context(), "GET", l.URL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	was := serial(0)
	if _, err := d.Renew(Names{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	is := serial(0)
	if is == was || serial(1) != is || serial(2) != is {
		t.Errorf("serial %s, then %s, %s and %s by the three protocols", was, is, serial(1), serial(2))
	}
}

func TestLoadPairNamesTheFile(t *testing.T) {
	d, _ := site(t)
	tests := []struct {
		cert, key string
		isKey     bool
		want      string
	}{
		{d.Cert + "x", d.Key, false, "server.pemx: no such file"},
		{d.Cert, d.Key + "x", true, "server.keyx: no such file"},
		{d.Key, d.Key, false, "no PEM certificate"},
		{d.Cert, d.CAKey, true, "not the key of this certificate"},
		{d.Cert, d.Cert, true, "not the key of this certificate"},
		{filepath.Dir(d.Cert), d.Key, false, "is a directory"},
		{"/dev/zero", d.Key, false, "more than 1048576 bytes"},
	}
	for _, tt := range tests {
		_, err := LoadPair(tt.cert, tt.key)
		var pair *PairError
		if !errors.As(err, &pair) || pair.Key != tt.isKey || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("LoadPair(%s, %s) = %v", tt.cert, tt.key, err)
		}
	}
	if _, err := LoadPair(d.Cert, d.Key); err != nil {
		t.Error(err)
	}
}

// At the start a pair out of its time is served with a warning.
func TestExpiredAtStart(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	writePair(t, cert, key, 1, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	var log logBuffer
	c, err := NewCertificate(CertificateConfig{CertFile: cert, KeyFile: key, Logger: log.logger()})
	if err != nil || log.count("event=tls_certificate_invalid") != 1 {
		t.Fatalf("%v, %d warnings", err, log.count("event=tls_certificate_invalid"))
	}
	if err := ValidAt(c.Leaf(), time.Now()); !errors.Is(err, ErrExpired) {
		t.Errorf("ValidAt = %v", err)
	}
	if err := ValidAt(c.Leaf(), time.Now().Add(-3*time.Hour)); !errors.Is(err, ErrNotYetValid) {
		t.Errorf("ValidAt = %v", err)
	}
	// Any pair is better than that one, also one that is out of its time.
	writePair(t, cert, key, 2, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	if err := c.Reload(cert, key); err != nil || c.Leaf().SerialNumber.Int64() != 2 {
		t.Errorf("Reload = %v", err)
	}
}

// FuzzPair: whatever stands in the two files, a pair comes out that serves a
// handshake, or an error.
func FuzzPair(f *testing.F) {
	d, _ := site(f)
	var texts [4][]byte
	for i, name := range []string{d.Cert, d.Key, d.CA, d.CAKey} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		texts[i] = text
	}
	f.Add(texts[0], texts[1])
	f.Add(texts[2], texts[3])
	f.Add(append(texts[0], texts[2]...), texts[1])
	f.Add(texts[1], texts[0])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		pair, _, err := parsePair(cert, key)
		if (pair == nil) == (err == nil) {
			t.Fatalf("parsePair = %v, %v", pair, err)
		}
		if pair != nil && pair.Leaf == nil {
			t.Error("a pair without its certificate")
		}
		if a, err := parseAuthority(cert, key); err == nil && !a.cert.IsCA {
			t.Error("a server's certificate was taken for an authority")
		}
		if k, err := parseKey(key); err == nil && k.Curve == nil {
			t.Error("a key without a curve")
		}
	})
}
