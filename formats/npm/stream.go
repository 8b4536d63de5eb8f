package npm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// stream cuts a JSON document into raw values while it is read, so that a
// packument of tens of megabytes is in memory once, as the rows it becomes.
type stream struct {
	r        io.Reader
	buf      []byte
	pos, end int
	left     int64 // bytes that may still be read
	scratch  []byte
}

func newStream(r io.Reader, limit int64) *stream {
	return &stream{r: r, buf: make([]byte, 64<<10), left: limit}
}

var errTooLarge = errors.New("document over the size limit")

// fill makes at least one byte available. A truncated document is
// io.ErrUnexpectedEOF.
func (s *stream) fill() error {
	if s.pos < s.end {
		return nil
	}
	for range 100 {
		n, err := s.r.Read(s.buf)
		if n > 0 {
			if s.left -= int64(n); s.left < 0 {
				return errTooLarge
			}
			s.pos, s.end = 0, n
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// peek passes over white space and returns the next byte without taking it.
func (s *stream) peek() (byte, error) {
	for {
		if err := s.fill(); err != nil {
			return 0, err
		}
		s.pos += space(s.buf[s.pos:s.end], 0)
		if s.pos < s.end {
			return s.buf[s.pos], nil
		}
	}
}

// take consumes one of the wanted bytes after white space.
func (s *stream) take(want string) (byte, error) {
	c, err := s.peek()
	if err != nil {
		return 0, err
	}
	if bytes.IndexByte([]byte(want), c) < 0 {
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
	c, err := s.peek()
	if err != nil {
		return nil, err
	}
	s.scratch = s.scratch[:0]
	switch c {
	case '{', '[', '"':
		err = s.nested()
	default:
		err = s.scalar()
	}
	if err != nil {
		return nil, err
	}
	n, err := checkValue(s.scratch, 0, 0)
	if err == nil && n != len(s.scratch) {
		err = fmt.Errorf("%w: %q behind a value", errJSON, s.scratch[n])
	}
	return s.scratch, err
}

// nested copies one string, object or array into scratch by quotes and braces
// alone; checkValue looks at the rest.
func (s *stream) nested() error {
	depth, quoted, escaped := 0, false, false
	for {
		if err := s.fill(); err != nil {
			return err
		}
		chunk := s.buf[s.pos:s.end]
		n, done := 0, false
		for n < len(chunk) && !done {
			c := chunk[n]
			n++
			switch {
			case escaped:
				escaped = false
			case quoted:
				switch c {
				case '\\':
					escaped = true
				case '"':
					quoted = false
					done = depth == 0
				}
			case c == '"':
				quoted = true
			case c == '{' || c == '[':
				depth++
			case c == '}' || c == ']':
				depth--
				done = depth == 0
			}
		}
		s.scratch = append(s.scratch, chunk[:n]...)
		s.pos += n
		if len(s.scratch) > maxManifest {
			return fmt.Errorf("one value is over %d bytes: %w", maxManifest, errTooLarge)
		}
		if done {
			return nil
		}
	}
}

// scalar copies a number or literal into scratch.
func (s *stream) scalar() error {
	for len(s.scratch) < 64 {
		if err := s.fill(); err != nil {
			if err == io.ErrUnexpectedEOF {
				return nil // a bare number may end the document
			}
			return err
		}
		switch c := s.buf[s.pos]; c {
		case ',', '}', ']', ':', ' ', '\n', '\t', '\r':
			return nil
		default:
			s.scratch = append(s.scratch, c)
			s.pos++
		}
	}
	return fmt.Errorf("%w: overlong literal", errJSON)
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
