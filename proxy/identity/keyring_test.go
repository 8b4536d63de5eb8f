package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func openKeyring(t testing.TB, dir string) *Keyring {
	t.Helper()
	return must[*Keyring](t)(OpenKeyring(KeyringConfig{Dir: dir}))
}

func TestKeyringIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "keys")
	a := openKeyring(t, dir)
	sealed := a.Seal([]byte("secret"), nil)
	b := openKeyring(t, dir)
	if !a.TokenKey().Equal(b.TokenKey()) || !a.npm.Equal(b.npm) {
		t.Error("a second start makes other keys")
	}
	if got, err := b.Open(sealed, nil); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(dir))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info := must[os.FileInfo](t)(e.Info()); runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("%s has mode %s", e.Name(), info.Mode())
		}
	}
	if got := strings.Join(names, " "); got != "npm.key seal.key token.key" {
		t.Errorf("the directory holds %s", got)
	}
	if info := must[os.FileInfo](t)(os.Stat(dir)); runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %s", info.Mode())
	}
}

// TestKeyringRace: those who start at once end with the same keys.
func TestKeyringRace(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	rings := make([]*Keyring, 8)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			var err error
			if rings[i], err = OpenKeyring(KeyringConfig{Dir: dir}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range rings {
		if k == nil || !k.token.Equal(rings[0].token) || !k.npm.Equal(rings[0].npm) || k.seal[0].id != rings[0].seal[0].id {
			t.Fatal("two starts have different keys")
		}
	}
	if left := must[[]string](t)(filepath.Glob(filepath.Join(dir, ".*"))); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestExposedKeysAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing here")
	}
	for _, tt := range []struct {
		name string
		mode os.FileMode
	}{{tokenKeyFile, 0o640}, {npmKeyFile, 0o604}, {sealKeyFile, 0o620}, {"", 0o750}, {"", 0o701}} {
		dir := filepath.Join(t.TempDir(), "keys")
		openKeyring(t, dir)
		path := filepath.Join(dir, tt.name)
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKeyring(KeyringConfig{Dir: dir})
		if !errors.Is(err, ErrExposedKey) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("%q with mode %o: %v", tt.name, tt.mode, err)
		}
	}
}

func TestDamagedKeysAreNotReplaced(t *testing.T) {
	for _, name := range []string{tokenKeyFile, npmKeyFile, sealKeyFile} {
		for _, text := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
			dir := filepath.Join(t.TempDir(), "keys")
			openKeyring(t, dir)
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenKeyring(KeyringConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s with %q: %v", name, text, err)
			}
			if got := must[[]byte](t)(os.ReadFile(path)); string(got) != text {
				t.Errorf("%s was written again", name)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "keys")
	openKeyring(t, dir)
	npm := must[[]byte](t)(os.ReadFile(filepath.Join(dir, npmKeyFile)))
	if err := os.WriteFile(filepath.Join(dir, tokenKeyFile), npm, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyring(KeyringConfig{Dir: dir}); err == nil {
		t.Error("an ECDSA key signs tokens")
	}
}

func TestSeal(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keys"))
	for _, plain := range []string{"", "x", strings.Repeat("secret", 1000)} {
		sealed := k.Seal([]byte(plain), []byte("row 1"))
		if got, err := k.Open(sealed, []byte("row 1")); err != nil || string(got) != plain {
			t.Fatalf("%d bytes: %v", len(plain), err)
		}
		if bytes.Equal(sealed, k.Seal([]byte(plain), []byte("row 1"))) {
			t.Error("the same nonce twice")
		}
		for _, aad := range []string{"", "row 2", "row 1 "} {
			if _, err := k.Open(sealed, []byte(aad)); !errors.Is(err, ErrSealed) {
				t.Errorf("with %q: %v", aad, err)
			}
		}
		for i := range min(len(sealed), 64) {
			other := bytes.Clone(sealed)
			other[i] ^= 0x80
			if _, err := k.Open(other, []byte("row 1")); !errors.Is(err, ErrSealed) && !errors.Is(err, ErrSealKey) {
				t.Errorf("byte %d flipped: %v", i, err)
			}
			if _, err := k.Open(sealed[:i], []byte("row 1")); err == nil {
				t.Errorf("cut to %d bytes, it opens", i)
			}
		}
	}
	other := openKeyring(t, filepath.Join(t.TempDir(), "keys"))
	if _, err := other.Open(k.Seal([]byte("x"), nil), nil); !errors.Is(err, ErrSealKey) {
		t.Errorf("another ring: %v", err)
	}
}

func TestSealKeyRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	k := openKeyring(t, dir)
	before := k.Seal([]byte("old"), nil)
	old := must[[][]byte](t)(k.SessionSecrets())
	if err := k.RotateSealKey(); err != nil {
		t.Fatal(err)
	}
	after := k.Seal([]byte("new"), nil)
	if bytes.Equal(before[1:9], after[1:9]) {
		t.Error("the key is the same")
	}
	for _, ring := range []*Keyring{k, openKeyring(t, dir)} {
		for sealed, want := range map[string]string{string(before): "old", string(after): "new"} {
			if got, err := ring.Open([]byte(sealed), nil); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
		}
		if s := must[[][]byte](t)(ring.SessionSecrets()); len(s) != 2 || !bytes.Equal(s[1], old[0]) {
			t.Error("the former secret of sessions is gone")
		}
	}
}

func TestNPMSignature(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keys"))
	id, key, err := k.NPMKey()
	if err != nil {
		t.Fatal(err)
	}
	der := must[[]byte](t)(base64.StdEncoding.DecodeString(key))
	sum := sha256.Sum256(der)
	if want := "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]); id != want || len(id) != 50 {
		t.Errorf("key id is %s, want %s", id, want)
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte("left-pad@1.3.0:sha512-abc")
	sig := must[string](t)(k.SignNPM(payload))
	digest := sha256.Sum256(payload)
	if raw := must[[]byte](t)(base64.StdEncoding.DecodeString(sig)); !ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), digest[:], raw) {
		t.Error("the signature does not verify")
	}
}

func TestTrustedKeys(t *testing.T) {
	dirA, dirB := filepath.Join(t.TempDir(), "a [1]"), filepath.Join(t.TempDir(), "b")
	a, b := openKeyring(t, dirA), openKeyring(t, dirB)
	trusted := filepath.Join(dirA, trustedDir)
	if err := os.Mkdir(trusted, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(trusted, "b.pub")
	if err := os.WriteFile(path, must[[]byte](t)(b.TokenPublicPEM()), 0o644); err != nil {
		t.Fatal(err)
	}
	keys, err := a.TrustedKeys()
	if err != nil || len(keys) != 2 {
		t.Fatalf("got %d keys, %v", len(keys), err)
	}
	issuer := must[*Issuer](t)(NewIssuer(IssuerConfig{Site: "site", Key: b.TokenKey()}))
	verifier := must[*Verifier](t)(NewVerifier(VerifierConfig{Site: "site", Keys: keys}))
	token, _, err := issuer.Issue(alice(), "main", owner, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Verify(token, "main", owner); err != nil {
		t.Error(err)
	}
	private := must[[]byte](t)(os.ReadFile(filepath.Join(dirB, tokenKeyFile)))
	for name, text := range map[string][]byte{"empty": nil, "garbage": []byte("x"), "private key": private} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := a.TrustedKeys(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if runtime.GOOS != "windows" {
		if err := os.WriteFile(path, must[[]byte](t)(b.TokenPublicPEM()), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := a.TrustedKeys(); err == nil {
			t.Error("a key that everybody may write is trusted")
		}
	}
}

func FuzzOpen(f *testing.F) {
	// The same key in every process that fuzzes.
	keys := must[[]sealKey](f)(parseSealKeys([]byte(base64.StdEncoding.EncodeToString(make([]byte, sealKeySize)))))
	k := &Keyring{seal: keys}
	sealed := k.Seal([]byte("secret"), []byte("aad"))
	f.Add(sealed)
	f.Add([]byte{sealVersion})
	f.Add(sealed[:9])
	f.Fuzz(func(t *testing.T, in []byte) {
		if got, err := k.Open(in, []byte("aad")); err == nil && string(got) != "secret" {
			t.Fatalf("%x opens as %q", in, got)
		}
	})
}
