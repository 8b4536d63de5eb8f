package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// Names in the directory of a Keyring.
const (
	tokenKeyFile = "token.key" // PKCS #8 in PEM, Ed25519
	npmKeyFile   = "npm.key"   // PKCS #8 in PEM, ECDSA P-256
	sealKeyFile  = "seal.key"  // one base64 key of 32 bytes a line, the current one first
	trustedDir   = "trusted"   // *.pub: PKIX in PEM, Ed25519

	maxKeyFile = 64 << 10
)

// ErrExposedKey is the refusal of key material that others could read.
var ErrExposedKey = errors.New("key material is open to others")

// KeyringConfig configures a Keyring.
type KeyringConfig struct {
	Dir string // made with mode 0700 when it is missing; required
}

// Keyring is the key material of a node: the key that signs tokens, the key
// that signs npm packages, the keys that seal secrets, and the public keys of
// other nodes. Files are made on first use, 0600 in a directory of 0700, and
// none is used that its group or the world may read. It is safe for concurrent
// use.
type Keyring struct {
	dir   string
	token ed25519.PrivateKey
	npm   *ecdsa.PrivateKey

	mu   sync.RWMutex // guards seal
	seal []sealKey    // the current one first
}

// OpenKeyring reads the keys in cfg.Dir, and makes those that are missing.
func OpenKeyring(cfg KeyringConfig) (*Keyring, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open keyring: no directory")
	}
	k := &Keyring{dir: cfg.Dir}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	if err := k.load(); err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	return k, nil
}

func (k *Keyring) load() error {
	info, err := os.Stat(k.dir)
	if err != nil {
		return err
	}
	if err := private(k.dir, info, 0o700); err != nil {
		return err
	}
	token, err := k.privateKey(tokenKeyFile, func() (any, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	})
	if err != nil {
		return err
	}
	npm, err := k.privateKey(npmKeyFile, func() (any, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
	if err != nil {
		return err
	}
	var ok bool
	if k.token, ok = token.(ed25519.PrivateKey); !ok {
		return fmt.Errorf("%s is not an Ed25519 key", filepath.Join(k.dir, tokenKeyFile))
	}
	if k.npm, ok = npm.(*ecdsa.PrivateKey); !ok || k.npm.Curve != elliptic.P256() {
		return fmt.Errorf("%s is not an ECDSA P-256 key", filepath.Join(k.dir, npmKeyFile))
	}
	text, err := k.file(sealKeyFile, func() ([]byte, error) { return newSealLine(), nil })
	if err != nil {
		return err
	}
	if k.seal, err = parseSealKeys(text); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(k.dir, sealKeyFile), err)
	}
	return nil
}

// privateKey reads or makes a key in PKCS #8.
func (k *Keyring) privateKey(name string, generate func() (any, error)) (any, error) {
	text, err := k.file(name, func() ([]byte, error) {
		key, err := generate()
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	})
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s is not one PKCS #8 key in PEM", filepath.Join(k.dir, name))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(k.dir, name), err)
	}
	return key, nil
}

// file reads a private file, or makes it. Of two that make it at once one wins,
// and both read the same.
func (k *Keyring) file(name string, generate func() ([]byte, error)) ([]byte, error) {
	path := filepath.Join(k.dir, name)
	text, err := readPrivate(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = generate(); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	// A link, unlike a rename, never replaces what another one just made.
	if err := writeDurably(path, text, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return readPrivate(path)
}

// readPrivate reads a file that nobody else may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := private(path, info, 0o600); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s is too large for a key", path)
	}
	return text, err
}

// private refuses what its group or the world has any right to.
func private(path string, info fs.FileInfo, want fs.FileMode) error {
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s has mode %04o: chmod %04o it, and replace the keys if someone may have read them", ErrExposedKey, path, info.Mode().Perm(), want)
}

// writeDurably makes path hold text, synced, by way of a temporary file beside
// it that commit puts in its place.
func writeDurably(path string, text []byte, commit func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if rmErr := os.Remove(f.Name()); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := commit(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// TokenKey is the key that this node signs tokens with.
func (k *Keyring) TokenKey() ed25519.PrivateKey { return k.token }

// TokenPublicPEM is what other nodes put into their trusted directory.
func (k *Keyring) TokenPublicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.token.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// TrustedKeys reads the public keys that may sign tokens, by KeyID: this node's
// own and those in trusted/*.pub. It may be called again to learn of changes;
// an unreadable file is an error, not a shorter list.
func (k *Keyring) TrustedKeys() (map[string]ed25519.PublicKey, error) {
	own := k.token.Public().(ed25519.PublicKey)
	keys := map[string]ed25519.PublicKey{KeyID(own): own}
	paths, err := filepath.Glob(filepath.Join(escapeGlob(k.dir), trustedDir, "*.pub"))
	if err != nil {
		return nil, fmt.Errorf("list trusted keys: %w", err)
	}
	for _, path := range paths {
		found, err := readPublicKeys(path)
		if err != nil {
			return nil, fmt.Errorf("read trusted keys: %w", err)
		}
		maps.Copy(keys, found)
	}
	return keys, nil
}

// escapeGlob takes the meaning from what filepath.Glob would expand.
func escapeGlob(s string) string {
	if runtime.GOOS == "windows" {
		return s // has no escapes
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// readPublicKeys reads the Ed25519 keys of one PEM file.
func readPublicKeys(path string) (map[string]ed25519.PublicKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: others may write it", path, info.Mode().Perm())
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s is too large for a key", path)
	}
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys := map[string]ed25519.PublicKey{}
	for len(strings.TrimSpace(string(rest))) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("%s holds something that is not a public key in PEM", path)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("%s is not an Ed25519 key", path)
		}
		keys[KeyID(key)] = key
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return keys, nil
}

// NPMKey is the public key of package signatures as npm's keys endpoint shows
// it: the id "SHA256:" and the unpadded base64 digest of the DER key, and the
// DER key in base64.
func (k *Keyring) NPMKey() (keyID, key string, err error) {
	der, err := x509.MarshalPKIXPublicKey(k.npm.Public())
	if err != nil {
		return "", "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(der), nil
}

// SignNPM signs a payload ("NAME@VERSION:INTEGRITY") and returns the DER
// signature in base64, as in a packument's dist.signatures.
func (k *Keyring) SignNPM(payload []byte) (string, error) {
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, k.npm, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// SessionSecrets derives what SessionConfig.Secrets needs from the sealing keys:
// nodes that share seal.key accept each other's sessions.
func (k *Keyring) SessionSecrets() ([][]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var out [][]byte
	for _, s := range k.seal {
		secret, err := hkdf.Key(sha256.New, s.key, nil, "larder sts sessions", 32)
		if err != nil {
			return nil, fmt.Errorf("derive secret of sessions: %w", err)
		}
		out = append(out, secret)
	}
	return out, nil
}
