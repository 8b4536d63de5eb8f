package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"larder/formats"
)

// TestCopyHashed compares the digests with those of the whole, for sizes about
// the borders and readers that give little at a time.
func TestCopyHashed(t *testing.T) {
	data := make([]byte, uploadPieces*uploadPiece*2+7)
	rand.NewChaCha8([32]byte{1}).Read(data)
	for _, size := range []int{0, 1, besideFrom - 1, besideFrom, uploadPiece - 1, uploadPiece, uploadPiece + 1, uploadPieces * uploadPiece, len(data)} {
		for name, r := range map[string]io.Reader{
			"plain": bytes.NewReader(data[:size]), "halves": iotest.HalfReader(bytes.NewReader(data[:size])), "end with data": iotest.DataErrReader(bytes.NewReader(data[:size])),
		} {
			var out bytes.Buffer
			got, err := copyHashed(&out, r, uploadDigests())
			if err != nil || !bytes.Equal(out.Bytes(), data[:size]) {
				t.Fatalf("%d bytes, %s: %d arrived, %v", size, name, out.Len(), err)
			}
			for i, alg := range uploadDigests() {
				h := alg.New()
				h.Write(data[:size])
				if want := (formats.Digest{Alg: alg, Hex: fmt.Sprintf("%x", h.Sum(nil))}); got[i] != want {
					t.Errorf("%d bytes, %s: %v, want %v", size, name, got[i], want)
				}
			}
		}
	}
}

var errTorn = errors.New("torn")

// tornWriter fails after some bytes.
type tornWriter struct{ left int }

func (w *tornWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errTorn
	}
	return len(p), nil
}

func TestCopyHashedFails(t *testing.T) {
	data := make([]byte, 10*uploadPiece)
	for at := 0; at < len(data); at += uploadPiece - 1 {
		if _, err := copyHashed(&tornWriter{at}, bytes.NewReader(data), uploadDigests()); !errors.Is(err, errTorn) {
			t.Errorf("a writer that fails after %d bytes: %v", at, err)
		}
		torn := io.MultiReader(bytes.NewReader(data[:at]), iotest.ErrReader(errTorn))
		if _, err := copyHashed(io.Discard, torn, uploadDigests()); !errors.Is(err, errTorn) {
			t.Errorf("a reader that fails after %d bytes: %v", at, err)
		}
	}
}
