package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Directory is where a local authority and the server's certificate lie. Only
// its owner may read the two keys.
type Directory struct {
	CA, CAKey string // the authority; CA is what clients are to trust
	Cert, Key string // what the node is given
}

// DirectoryAt names the files inside dir.
func DirectoryAt(dir string) Directory {
	return Directory{
		CA: filepath.Join(dir, "ca.pem"), CAKey: filepath.Join(dir, "ca.key"),
		Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key"),
	}
}

// Exists returns the first of the files that is there already, "" if none is.
func (d Directory) Exists() string {
	for _, name := range []string{d.CA, d.CAKey, d.Cert, d.Key} {
		if _, err := os.Lstat(name); err == nil {
			return name
		}
	}
	return ""
}

// Issued says what was made.
type Issued struct {
	Names    Names
	NotAfter time.Time
}

// Create makes an authority for site and a server's certificate for names. The
// authority may sign for these, for all names below them, and for permit. No
// file is written over; on an error none is left behind.
func (d Directory) Create(site string, names Names, permit Scope, now time.Time) (issued Issued, err error) {
	if name := d.Exists(); name != "" {
		return Issued{}, fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	ca, err := newAuthority(site, permit.covering(names), now)
	if err != nil {
		return Issued{}, err
	}
	caKey, err := encodeKey(ca.key)
	if err != nil {
		return Issued{}, err
	}
	// Readable to others: the authority's certificate is for every client here.
	if err := os.MkdirAll(filepath.Dir(d.CA), 0o755); err != nil {
		return Issued{}, fmt.Errorf("make directory: %w", err)
	}
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				os.Remove(name)
			}
		}
	}()
	write := func(name string, text []byte, mode fs.FileMode) {
		if err != nil {
			return
		}
		if err = writeExclusive(name, text, mode); err == nil {
			made = append(made, name)
		}
	}
	write(d.CAKey, caKey, 0o600)
	write(d.CA, encodeCertificate(ca.cert), 0o644)
	if err != nil {
		return Issued{}, err
	}
	key, text, err := newKey()
	if err != nil {
		return Issued{}, err
	}
	cert, err := ca.issue(names, key, now)
	if err != nil {
		return Issued{}, err
	}
	write(d.Key, text, 0o600)
	write(d.Cert, encodeCertificate(cert), 0o644)
	return Issued{Names: names, NotAfter: cert.NotAfter}, err
}

// Renew signs a new certificate for the server's key with the authority that is
// there, for the names of the former certificate and more. The key stays, so
// that one rename is the whole change and a node never sees half of it; where
// the key was removed a new one is made.
func (d Directory) Renew(more Names, now time.Time) (Issued, error) {
	caCert, err := readFile(d.CA)
	if err != nil {
		return Issued{}, &PairError{File: d.CA, Err: err}
	}
	caKey, err := readFile(d.CAKey)
	if err != nil {
		return Issued{}, &PairError{Key: true, File: d.CAKey, Err: err}
	}
	ca, err := parseAuthority(caCert, caKey)
	if err != nil {
		return Issued{}, &PairError{File: d.CA, Err: err}
	}
	names := more
	if text, err := readFile(d.Cert); err == nil {
		chain, err := parseCertificates(text)
		if err != nil {
			return Issued{}, &PairError{File: d.Cert, Err: err}
		}
		names = namesOf(chain[0]).with(more)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Issued{}, &PairError{File: d.Cert, Err: err}
	}
	key, err := d.serverKey()
	if err != nil {
		return Issued{}, err
	}
	cert, err := ca.issue(names, key, now)
	if err != nil {
		return Issued{}, err
	}
	fresh := d.Cert + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Issued{}, err // what an interrupted run may have left
	}
	if err := writeExclusive(fresh, encodeCertificate(cert), 0o644); err != nil {
		return Issued{}, err
	}
	if err := os.Rename(fresh, d.Cert); err != nil {
		return Issued{}, fmt.Errorf("replace certificate: %w", err)
	}
	return Issued{Names: names, NotAfter: cert.NotAfter}, nil
}

// serverKey reads the server's key, or makes and writes one where there is none.
func (d Directory) serverKey() (*ecdsa.PrivateKey, error) {
	text, err := readFile(d.Key)
	if errors.Is(err, fs.ErrNotExist) {
		key, text, err := newKey()
		if err != nil {
			return nil, err
		}
		return key, writeExclusive(d.Key, text, 0o600)
	}
	if err != nil {
		return nil, &PairError{Key: true, File: d.Key, Err: err}
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, &PairError{Key: true, File: d.Key, Err: err}
	}
	return key, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	text, err := encodeKey(key)
	return key, text, err
}

// writeExclusive writes a new file that survives a crash once it is there.
func writeExclusive(name string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask took away
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(name)
	}
	return err
}
