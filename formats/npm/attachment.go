package npm

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"larder/formats"
)

// maxBundle bounds a provenance bundle; npm's are some 20 KB.
const maxBundle = 4 << 20

// attachment takes one member of "_attachments": the tarball, whose base64 goes
// to the store while it is read, or a provenance bundle.
func (u *upload) attachment(s *stream, key []byte) error {
	name := text(key)
	bundle := strings.HasSuffix(name, ".sigstore")
	if !bundle && u.tarball != nil || bundle && u.bundle != nil {
		return formats.Refuse(formats.BadRequest, "the request carries more than one tarball or provenance bundle")
	}
	length, size := int64(-1), int64(-1)
	err := s.members(func(key []byte) error {
		switch member := text(key); {
		case member == "data" && size >= 0:
			return formats.Refuse(formats.BadRequest, "attachment %q has its data twice", clip(name))
		case member == "data" && bundle:
			val, err := s.value()
			if err != nil {
				return err
			}
			if len(val) > maxBundle {
				return fmt.Errorf("provenance bundle: %w", errTooLarge)
			}
			u.bundle = append([]byte{}, unquote(val)...)
			size = int64(len(u.bundle))
			return nil
		case member == "data":
			var err error
			size, err = u.spool(s)
			return err
		case member == "length":
			val, err := s.value()
			if err != nil {
				return err
			}
			if length, err = strconv.ParseInt(string(val), 10, 64); err != nil {
				return formats.Refuse(formats.BadRequest, "attachment %q has a length that is no number", clip(name))
			}
			return nil
		}
		return u.skip(s)
	})
	switch {
	case err != nil:
		return err
	case size < 0:
		return formats.Refuse(formats.BadRequest, "attachment %q has no data", clip(name))
	case !bundle && length >= 0 && length != size: // a bundle's length counts UTF-16 units
		return formats.Refuse(formats.BadRequest, "attachment %q has %d bytes and claims %d", clip(name), size, length)
	}
	return nil
}

// spool takes the tarball into the store.
func (u *upload) spool(s *stream) (int64, error) {
	if _, err := s.take(`"`); err != nil {
		return 0, err
	}
	str := &stringReader{s: s}
	spool, err := u.in.Spool(u.ctx, base64.NewDecoder(base64.StdEncoding, str))
	var corrupt base64.CorruptInputError
	switch {
	case errors.As(err, &corrupt), errors.Is(err, io.ErrUnexpectedEOF) && str.done:
		return 0, formats.Refuse(formats.BadRequest, "the tarball is not base64").Because(err)
	case str.err != nil:
		return 0, str.err
	case err != nil:
		return 0, fmt.Errorf("take in tarball: %w", err)
	case !str.done:
		return 0, formats.Refuse(formats.BadRequest, "the tarball is not base64")
	}
	u.tarball = spool
	return spool.Size(), nil
}

// stringReader reads the text of a JSON string of base64, whose opening quote is
// taken, up to and with its closing quote. Encoders may escape what base64 has
// besides letters and digits, and nothing else.
type stringReader struct {
	s      *stream
	err    error // what ended it, not io.EOF
	done   bool
	padded bool
}

func (r *stringReader) Read(p []byte) (int, error) {
	n, err := r.read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

func (r *stringReader) read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.done {
		return 0, io.EOF
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.s.pos == r.s.end {
		if err := r.s.more(); err != nil {
			return 0, err
		}
	}
	if r.s.buf[r.s.pos] == '\\' {
		c, err := r.escape()
		if err != nil {
			return 0, err
		}
		p[0] = c
		return 1, r.check(p[:1])
	}
	text := r.s.buf[r.s.pos:r.s.end]
	text = text[:min(len(text), len(p))]
	if i := bytes.IndexByte(text, '"'); i >= 0 {
		text = text[:i]
		r.done = true
	}
	if i := bytes.IndexByte(text, '\\'); i >= 0 {
		text = text[:i]
		r.done = false
	}
	r.s.pos += copy(p, text)
	if r.done {
		r.s.pos++
		err = io.EOF
	}
	if bad := r.check(text); bad != nil {
		return 0, bad
	}
	return len(text), err
}

// check refuses what the base64 decoder would pass over: line ends, and
// anything behind the padding. Other foreign bytes it refuses itself.
func (r *stringReader) check(text []byte) error {
	bad := bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0
	if r.padded {
		bad = bad || len(bytes.Trim(text, "=")) > 0
	} else if i := bytes.IndexByte(text, '='); i >= 0 {
		r.padded = true
		bad = bad || len(bytes.Trim(text[i:], "=")) > 0
	}
	if bad {
		return formats.Refuse(formats.BadRequest, "the tarball is not base64")
	}
	return nil
}

// escape takes one escape sequence: "\/" or "\u00XX".
func (r *stringReader) escape() (byte, error) {
	for r.s.end-r.s.pos < 6 && (r.s.end-r.s.pos < 2 || r.s.buf[r.s.pos+1] == 'u') {
		if err := r.s.more(); err != nil {
			return 0, err
		}
	}
	b := r.s.buf[r.s.pos:r.s.end]
	if b[1] == '/' {
		r.s.pos += 2
		return '/', nil
	}
	if b[1] == 'u' {
		if c, err := strconv.ParseUint(string(b[2:6]), 16, 7); err == nil {
			r.s.pos += 6
			return byte(c), nil
		}
	}
	return 0, formats.Refuse(formats.BadRequest, "the tarball is not base64")
}
