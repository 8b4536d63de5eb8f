package cache

import (
	"context"
	"io"
	"net/http"
	"time"

	"larder/cache/store"
	"larder/formats"
)

// Plan says how the bytes of one key are got and what must be true of them. Its
// functions run on goroutines of the cache, one at a time except that Want runs
// beside the body; a panic in one of them becomes the flight's error. The
// contexts they get end with the flight, not with a client.
type Plan struct {
	// Held, if not nil, says that the store holds the blob by now: the Reader is
	// served from there and nothing is fetched. If the blob is missing after all,
	// the flight is started.
	Held *Result
	// Open asks for the bytes from offset from on. from > 0 means to resume: a
	// Range request with If-Range validator. The answer may start at 0 instead.
	// Its source may be a registry or another node. Reading the Body must end when
	// ctx does.
	Open func(ctx context.Context, from int64, validator string) (*Part, error)
	// Algs are digests to compute besides SHA-256, for Result.
	Algs []formats.Alg
	// Want learns what the bytes must be; h is the upstream's header. The last
	// block waits for it. nil: nothing is demanded but a complete body. Of several
	// digests of one algorithm one must match (as in subresource integrity), of
	// several algorithms all.
	Want func(ctx context.Context, h http.Header) (formats.Want, error)
	// Check inspects the complete file where Want.Whole is set.
	Check func(ctx context.Context, f formats.File, w formats.Want, sums []formats.Digest) error
	// Inspect looks into a verified file that is about to be kept, before Commit.
	// It cannot fail the flight, and is not called in through mode: what it learns
	// must be dispensable. nil: none.
	Inspect func(ctx context.Context, f formats.File, res Result)
	// Commit adds rows, ledger entries and Ref(res.Sum) to the batch that makes
	// the blob visible. An error fails the flight. nil: nothing is kept, the bytes
	// only go to the clients that share the flight.
	Commit func(b *store.Batch, res Result) error
	// MaxSize in bytes; 0 is no limit.
	MaxSize int64
	// Retries is how often in a row a broken body is asked for again without
	// progress (4 KiB); 0 means 5, negative none.
	Retries int
}

// Part is an upstream's answer.
type Part struct {
	Header    http.Header
	Body      io.ReadCloser
	Offset    int64  // of Body's first byte: what was asked for, or 0
	Total     int64  // size of the whole file, -1 unknown
	Validator string // strong ETag or Last-Modified that If-Range may use; "" none
}

// Result is a verified blob.
type Result struct {
	Sum     store.Sum
	Size    int64
	Digests []formats.Digest // SHA-256 first, then Plan.Algs and what Want named
	Header  http.Header      // the upstream's, of the first answer
	Kept    bool             // false in through mode and without Plan.Commit
}

// Observer receives events of flights, for metrics and logs. Fields may be nil.
// The functions are called from many goroutines and must not block.
type Observer struct {
	Started      func(key string)
	Joined       func(key string)
	Resumed      func(key string, at int64, cause error) // a broken body goes on at byte at
	Bytes        func(n int)                             // came from an upstream
	Through      func(key string, cause error)           // the store has no room (or failed)
	VerifyFailed func(key string, err *ErrVerify)
	Finished     func(key string, res Result, took time.Duration)
	Failed       func(key string, err error, took time.Duration)
}

func (o *Observer) started(key string) {
	if o.Started != nil {
		o.Started(key)
	}
}

func (o *Observer) joined(key string) {
	if o.Joined != nil {
		o.Joined(key)
	}
}

func (o *Observer) resumed(key string, at int64, cause error) {
	if o.Resumed != nil {
		o.Resumed(key, at, cause)
	}
}

func (o *Observer) bytes(n int) {
	if o.Bytes != nil {
		o.Bytes(n)
	}
}

func (o *Observer) through(key string, cause error) {
	if o.Through != nil {
		o.Through(key, cause)
	}
}
