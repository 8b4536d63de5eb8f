package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A sealed secret is
//
//	version 0x01 | id of the key, 8 bytes | nonce, 12 bytes | AES-256-GCM of the plaintext
//
// with version, key id and the caller's additional data authenticated.
const (
	sealVersion = 1
	sealIDSize  = 8
	sealKeySize = 32
)

var (
	// ErrSealKey means that the key a secret was sealed with is not in the ring.
	ErrSealKey = errors.New("secret is sealed with a key that is not here")
	// ErrSealed means that a secret is damaged, or belongs to other data.
	ErrSealed = errors.New("sealed secret does not open")
)

// sealKey is one key with its id.
type sealKey struct {
	id   [sealIDSize]byte
	key  []byte
	aead cipher.AEAD
}

// newSealLine makes a line of the key file.
func newSealLine() []byte {
	var key [sealKeySize]byte
	rand.Read(key[:])
	return []byte(base64.StdEncoding.EncodeToString(key[:]) + "\n")
}

func parseSealKeys(text []byte) ([]sealKey, error) {
	var keys []sealKey
	for line := range strings.Lines(string(text)) {
		key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(line))
		if err != nil || len(key) != sealKeySize {
			return nil, fmt.Errorf("line %d is not a key of %d bytes in base64", len(keys)+1, sealKeySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		id := sha256.Sum256(append([]byte("larder seal key id"), key...))
		keys = append(keys, sealKey{id: [sealIDSize]byte(id[:]), key: key, aead: aead})
	}
	if len(keys) == 0 {
		return nil, errors.New("no key")
	}
	return keys, nil
}

// Seal encrypts plaintext with the current key. aad says what the secret belongs
// to (its row's key, say); Open needs the same. One key may seal 2^32 secrets.
func (k *Keyring) Seal(plaintext, aad []byte) []byte {
	k.mu.RLock()
	key := k.seal[0]
	k.mu.RUnlock()
	out := append(make([]byte, 0, 1+sealIDSize+key.aead.Overhead()+len(plaintext)), sealVersion)
	out = append(out, key.id[:]...)
	return key.aead.Seal(out, nil, plaintext, slices.Concat(out, aad))
}

// Open decrypts what Seal made, also with a former key. Errors wrap ErrSealKey
// or ErrSealed.
func (k *Keyring) Open(sealed, aad []byte) ([]byte, error) {
	const prefix = 1 + sealIDSize
	if len(sealed) < prefix || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	k.mu.RLock()
	i := slices.IndexFunc(k.seal, func(s sealKey) bool { return string(s.id[:]) == string(sealed[1:prefix]) })
	if i < 0 {
		k.mu.RUnlock()
		return nil, ErrSealKey
	}
	aead := k.seal[i].aead
	k.mu.RUnlock()
	plaintext, err := aead.Open(nil, nil, sealed[prefix:], slices.Concat(sealed[:prefix], aad))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return plaintext, nil
}

// RotateSealKey puts a new key in front; the former ones go on opening what
// they sealed. Whoever holds SessionSecrets asks again.
func (k *Keyring) RotateSealKey() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	text := newSealLine()
	for _, s := range k.seal {
		text = append(text, base64.StdEncoding.EncodeToString(s.key)+"\n"...)
	}
	keys, err := parseSealKeys(text)
	if err != nil {
		return fmt.Errorf("rotate sealing key: %w", err)
	}
	if err := writeDurably(filepath.Join(k.dir, sealKeyFile), text, os.Rename); err != nil {
		return fmt.Errorf("rotate sealing key: %w", err)
	}
	k.seal = keys
	return nil
}
