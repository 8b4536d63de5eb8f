package cache

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrAborted ends the Readers of a flight that was given up: the cache closes,
	// or all clients left (Config.Abandon; always in through mode).
	ErrAborted = errors.New("download aborted")
	// ErrClosed is returned by a Reader after its Close.
	ErrClosed = errors.New("reader is closed")
	// ErrRange is returned for an offset beyond the end of the file.
	ErrRange = errors.New("offset is beyond the end")
	// ErrGone is returned in through mode for bytes that have passed already, and
	// to a client that held up the others for longer than Config.Patience.
	ErrGone = errors.New("bytes have passed and were not kept")
	// ErrTooLarge is returned when a file passes Plan.MaxSize.
	ErrTooLarge = errors.New("file is over the size limit")
)

// ErrVerify is returned (as a pointer) when an upstream's bytes are not what
// they must be. Nothing was kept, and no client got the last block.
type ErrVerify struct {
	Key       string
	Got, Want string // "sha512:ab12...", "1234 bytes"; "" when Check failed
	Err       error  // Check's reason, else nil
}

func (e *ErrVerify) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("verify %s: %v", plainKey(e.Key), e.Err)
	}
	return fmt.Sprintf("verify %s: got %s, want %s", plainKey(e.Key), e.Got, e.Want)
}

func (e *ErrVerify) Unwrap() error { return e.Err }

// ErrUpstream is returned (as a pointer) when an upstream could not be asked or
// broke and could not be resumed. It wraps the cause, so that a refusal made in
// Plan.Open can be found in its chain.
type ErrUpstream struct {
	Key string
	At  int64 // bytes that had arrived
	Err error
}

func (e *ErrUpstream) Error() string {
	return fmt.Sprintf("fetch %s (at byte %d): %v", plainKey(e.Key), e.At, e.Err)
}

func (e *ErrUpstream) Unwrap() error { return e.Err }

// plainKey shows an opaque key, whose parts callers join with NUL, in a message.
func plainKey(key string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, key)
}

// errSilent is the cause of an attempt that Config.IdleTimeout ended.
var errSilent = errors.New("upstream fell silent")

// Permanent marks an error of Plan.Open as one that asking again cannot mend.
func Permanent(err error) error { return &permanent{err} }

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// broken marks an error after which the body may be resumed.
type broken struct{ err error }

func (b *broken) Error() string { return b.err.Error() }
func (b *broken) Unwrap() error { return b.err }
