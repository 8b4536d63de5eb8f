package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
)

const (
	contentSHA256   = "X-Amz-Content-Sha256"
	unsignedPayload = "UNSIGNED-PAYLOAD"
)

// payloadHash is what a request says or shows about its body: the text for the
// canonical request, and whether the body still has to be held against it.
type payloadHash struct {
	text    string
	unknown bool // UNSIGNED-PAYLOAD
}

// declaredHash reads x-amz-content-sha256; an empty text means there is none.
func declaredHash(r *http.Request, c Check) (payloadHash, error) {
	values := r.Header[contentSHA256]
	if len(values) == 0 {
		if c.Stream {
			return payloadHash{}, invalid("The header x-amz-content-sha256 is required.")
		}
		return payloadHash{}, nil
	}
	switch v := values[0]; {
	case len(values) > 1:
	case isHexDigest(v):
		return payloadHash{text: v}, nil
	case v == unsignedPayload && c.AllowUnsigned && r.TLS != nil:
		return payloadHash{text: v, unknown: true}, nil
	}
	return payloadHash{}, invalid("The header x-amz-content-sha256 must be the SHA-256 of the body in 64 lower-case hex digits.")
}

// bufferBody reads the body, at most limit bytes, gives it back on r.Body and
// returns its digest.
func bufferBody(r *http.Request, limit int64) (string, error) {
	tooLarge := &Error{Code: CodeValidation, Status: http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("The request body is larger than %d bytes.", limit)}
	if r.ContentLength > limit {
		return "", tooLarge
	}
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return "", fmt.Errorf("read request body: %w", err)
		}
		if int64(len(body)) > limit {
			return "", tooLarge
		}
		if err := r.Body.Close(); err != nil {
			return "", fmt.Errorf("close request body: %w", err)
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

// checkedBody hashes a body while it is read and puts an error in the place of
// its end when it is not the one that was promised.
type checkedBody struct {
	body io.ReadCloser
	want string
	left int64 // bytes to the declared end, negative when none is declared
	hash hash.Hash
	done error // what every further Read returns
}

// newCheckedBody wraps the body of r.
func newCheckedBody(r *http.Request, want string) *checkedBody {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	return &checkedBody{body: body, want: want, left: r.ContentLength, hash: sha256.New()}
}

// Read returns an *Error with CodeValidation at the end of a body that is not
// the promised one, together with the last bytes where a length was declared:
// a reader that stops at the declared length sees it, too.
func (b *checkedBody) Read(p []byte) (int, error) {
	if b.done != nil {
		return 0, b.done
	}
	n, err := b.body.Read(p)
	b.hash.Write(p[:n])
	declared := b.left >= 0
	b.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF), err == nil && declared && b.left == 0 && n > 0:
		if b.done = b.verdict(); b.done == io.EOF && err == nil {
			return n, nil // the end comes with the next Read
		}
	case err != nil:
		b.done = err
	default:
		return n, nil
	}
	return n, b.done
}

func (b *checkedBody) verdict() error {
	if sum := hex.EncodeToString(b.hash.Sum(nil)); subtle.ConstantTimeCompare([]byte(sum), []byte(b.want)) != 1 {
		return invalid("The SHA-256 of the body is not the one in x-amz-content-sha256.")
	}
	return io.EOF
}

func (b *checkedBody) Close() error { return b.body.Close() }
