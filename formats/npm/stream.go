package npm

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// stream cuts a JSON document into raw values while it is read, so that a
// packument of tens of megabytes is in memory once, as the rows it becomes.
type stream struct {
	r        io.Reader
	buf      []byte
	pos, end int   // what is read and not yet taken
	left     int64 // bytes that may still be read
	eof      bool
}

func newStream(r io.Reader, limit int64) *stream {
	return &stream{r: r, buf: make([]byte, 64<<10), left: limit}
}

var errTooLarge = errors.New("document over the size limit")

// more reads further bytes behind the pending ones, at least as many as are
// pending, so that looking again at a long value costs its length a few times
// and not squared. At the end of the document it is io.ErrUnexpectedEOF.
func (s *stream) more() error {
	if s.eof {
		return io.ErrUnexpectedEOF
	}
	pending := s.end - s.pos
	if pending > maxManifest {
		return fmt.Errorf("one value is over %d bytes: %w", maxManifest, errTooLarge)
	}
	if pending > len(s.buf)/2 {
		s.buf = append(make([]byte, 0, 2*len(s.buf)), s.buf[s.pos:s.end]...)[:2*len(s.buf)]
	} else {
		copy(s.buf, s.buf[s.pos:s.end])
	}
	s.pos, s.end = 0, pending
	for empty := 0; s.end < pending+max(pending, 1); {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if s.left -= int64(n); s.left < 0 {
			return errTooLarge
		}
		if err == io.EOF {
			s.eof = true
			break
		} else if err != nil { // a reader's own ErrUnexpectedEOF too: a torn transfer
			return fmt.Errorf("read: %w", err)
		}
		if empty++; n > 0 {
			empty = 0
		} else if empty == 100 {
			return io.ErrNoProgress
		}
	}
	if s.end == pending {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// peek passes over white space and returns the next byte without taking it.
func (s *stream) peek() (byte, error) {
	for {
		if s.pos = space(s.buf[:s.end], s.pos); s.pos < s.end {
			return s.buf[s.pos], nil
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
}

// take consumes one of the wanted bytes after white space.
func (s *stream) take(want string) (byte, error) {
	c, err := s.peek()
	if err != nil {
		return 0, err
	}
	if strings.IndexByte(want, c) < 0 {
		return 0, fmt.Errorf("%w: one of %q expected, got %q", errJSON, want, c)
	}
	s.pos++
	return c, nil
}

// atEnd reports whether only white space is left.
func (s *stream) atEnd() error {
	c, err := s.peek()
	if err == io.ErrUnexpectedEOF {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: %q behind the end", errJSON, c)
	}
	return err
}

// value returns the next value byte for byte, validated. The result is good
// until the next call.
func (s *stream) value() ([]byte, error) {
	if _, err := s.peek(); err != nil {
		return nil, err
	}
	for {
		n, err := checkValue(s.buf[:s.end], s.pos, 0)
		switch {
		case err == nil && (n < s.end || s.eof): // a number could go on behind the buffer
			val := s.buf[s.pos:n]
			s.pos = n
			return val, nil
		case err != nil && !errors.Is(err, errCut):
			return nil, err
		}
		cut := err != nil
		if err := s.more(); err == io.ErrUnexpectedEOF && !cut {
			continue // the value ends with the document; eof is known now
		} else if err != nil {
			return nil, err
		}
	}
}

// members walks the object that comes next: fn gets each key in its raw form
// with quotes, and must consume the value. keys are good inside fn only.
func (s *stream) members(fn func(key []byte) error) error {
	if _, err := s.take("{"); err != nil {
		return err
	}
	if c, err := s.peek(); err != nil {
		return err
	} else if c == '}' {
		s.pos++
		return nil
	}
	var key []byte
	for {
		if c, err := s.peek(); err != nil {
			return err
		} else if c != '"' {
			return fmt.Errorf("%w: object key expected, got %q", errJSON, c)
		}
		raw, err := s.value()
		if err != nil {
			return err
		}
		key = append(key[:0], raw...)
		if _, err := s.take(":"); err != nil {
			return err
		}
		if err := fn(key); err != nil {
			return err
		}
		if c, err := s.take(",}"); err != nil || c == '}' {
			return err
		}
	}
}
