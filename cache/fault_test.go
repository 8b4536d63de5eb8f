package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"larder/cache/store"
	"larder/formats"
)

var errReset = errors.New("connection reset by test")

const (
	fileSize = 300_000
	hold     = 64 << 10 // the default HoldBack
)

// drink reads the whole file as a client does, and returns what it got.
func drink(t testing.TB, k *kitchen, key string, plan Plan) ([]byte, Result, error) {
	t.Helper()
	r, err := k.Fill(t.Context(), key, func() Plan { return plan })
	if err != nil {
		return nil, Result{}, err
	}
	defer r.Close()
	var got collector
	if _, err := r.WriteRange(t.Context(), &got, 0, -1); err != nil {
		return got.b, Result{}, err
	}
	res, err := r.WaitVerified(t.Context())
	return got.b, res, err
}

// Each break is at every interesting byte, in three ways of answering after it.
func TestBreakAndResume(t *testing.T) {
	body := content(1, fileSize)
	other := bytes.Clone(body)
	other[10] ^= 1 // differs in what was given out before most breaks
	for _, at := range []int{0, 1, 4095, 4096, 100_000, fileSize - hold - 1, fileSize - hold, fileSize - hold + 1, fileSize - 1} {
		for _, tc := range []struct {
			name      string
			validator string
			first     fault
			second    fault
			attempts  int
			verify    bool // want *ErrVerify
		}{
			{"short", `"a"`, fault{err: io.EOF}, clean(), 2, false},
			{"reset", `"a"`, fault{err: errReset}, clean(), 2, false},
			{"unexpected EOF", `"a"`, fault{err: io.ErrUnexpectedEOF}, clean(), 2, false},
			{"no validator", "", fault{err: errReset}, clean(), 2, false},
			{"200 on range", `"a"`, fault{err: errReset}, fault{cut: -1, whole: true}, 2, false},
			{"other validator, 200, same bytes", `"a"`, fault{err: errReset}, fault{cut: -1, whole: true, validator: `"b"`}, 2, false},
			{"other validator, 200, other bytes", `"a"`, fault{err: errReset}, fault{cut: -1, whole: true, validator: `"b"`, body: other}, 2, true},
			{"other validator, 206", `"a"`, fault{err: errReset}, fault{cut: -1, validator: `"b"`}, 3, false},
			{"wrong range", `"a"`, fault{err: errReset}, fault{cut: -1, offset: 3}, 3, false},
			{"other total", `"a"`, fault{err: errReset}, fault{cut: -1, total: fileSize + 1}, 2, true},
			{"unknown total", `"a"`, fault{err: errReset, noTotal: true}, fault{cut: -1, noTotal: true}, 2, false},
			{"clean end, total known from Want", "", fault{err: io.EOF, noTotal: true}, fault{cut: -1, noTotal: true}, 2, false},
			{"second break", `"a"`, fault{err: errReset}, fault{cut: 0, err: errReset}, 3, false},
			{"break while comparing", "", fault{err: errReset}, fault{cut: at / 2, err: errReset}, 3, false},
		} {
			t.Run(fmt.Sprintf("%s at %d", tc.name, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := newKitchen(t, Config{})
					tc.first.cut = at
					o := &origin{body: body, validator: tc.validator, step: 30_000, faults: []fault{tc.first, tc.second}}
					got, res, err := drink(t, k, "key", o.plan())
					// Before the byte that differs, other bytes are the digest's affair.
					if errors.As(err, new(*ErrVerify)) != tc.verify || !tc.verify && err != nil {
						t.Fatalf("error = %v, want one of verification: %v", err, tc.verify)
					}
					want := tc.attempts
					if at == 0 && tc.name == "other validator, 206" {
						want = 2 // it was asked for everything
					}
					if n := o.attempts(); n != want {
						t.Errorf("%d attempts, want %d (%d)", n, want, o.opens)
					}
					checkOutcome(t, k, body, tc.second.body, got, res, err)
					k.close(o)
				})
			})
		}
	}
}

// checkOutcome holds what must be true of every end of a flight. Of a file that
// was refused, the beginning may have gone out: wrong is such a file.
func checkOutcome(t *testing.T, k *kitchen, body, wrong, got []byte, res Result, err error) {
	t.Helper()
	if !bytes.HasPrefix(body, got) && (err == nil || !bytes.HasPrefix(wrong, got)) {
		t.Errorf("client got %d bytes that are not those of the file", len(got))
	}
	k.mem.mu.Lock()
	defer k.mem.mu.Unlock()
	if err != nil {
		if len(got) > max(len(body)-hold, 0) {
			t.Errorf("client of a failed flight got %d of %d bytes: the last block is among them", len(got), len(body))
		}
		if k.mem.commits != 0 {
			t.Error("a failed flight was committed")
		}
		return
	}
	if len(got) != len(body) {
		t.Errorf("client got %d of %d bytes without an error", len(got), len(body))
	}
	if res.Kept != (k.mem.commits == 1) || res.Kept && !bytes.Equal(k.mem.blobs[res.Sum], body) {
		t.Errorf("store holds other bytes than the client got: %+v", res)
	}
	if want := digest(formats.SHA512, body); !hasDigest(res.Digests, want) || !hasDigest(res.Digests, digest(formats.SHA256, body)) {
		t.Errorf("digests %v, want among them %v", res.Digests, want)
	}
}

func hasDigest(ds []formats.Digest, want formats.Digest) bool {
	got, ok := formats.Find(ds, want.Alg)
	return ok && got == want
}

func TestVerification(t *testing.T) {
	body := content(2, fileSize)
	sha := func(a formats.Alg) formats.Digest { return digest(a, body) }
	wrong := digest(formats.SHA512, []byte("other"))
	want := func(size int64, ds ...formats.Digest) func(*Plan) {
		return func(p *Plan) {
			p.Want = func(context.Context, http.Header) (formats.Want, error) {
				return formats.Want{Digests: ds, Size: size}, nil
			}
		}
	}
	whole := func(check func(f formats.File) error) func(*Plan) {
		return func(p *Plan) {
			p.Want = func(context.Context, http.Header) (formats.Want, error) {
				return formats.Want{Whole: true, Private: "p"}, nil
			}
			p.Check = nil
			if check != nil {
				p.Check = func(_ context.Context, f formats.File, w formats.Want, sums []formats.Digest) error {
					if w.Private != "p" || !hasDigest(sums, sha(formats.SHA256)) {
						return errors.New("check got other arguments")
					}
					return check(f)
				}
			}
		}
	}
	readAll := func(f formats.File) error {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()+10))
		if err == nil && !bytes.Equal(b, body) {
			err = errors.New("check sees other bytes")
		}
		return err
	}
	for _, tc := range []struct {
		name   string
		change func(*Plan)
		fault  fault
		fails  string // part of the error
		typed  bool   // *ErrVerify
	}{
		{"all right", func(*Plan) {}, clean(), "", false},
		{"nothing demanded", func(p *Plan) { p.Want = nil }, clean(), "", false},
		{"every algorithm", want(fileSize, sha("md5"), sha("sha1"), sha("sha256"), sha("sha384"), sha("sha512")), clean(), "", false},
		{"wrong sha512", want(0, sha("sha1"), wrong), clean(), wrong.String(), true},
		{"wrong sha256", want(0, digest("sha256", nil)), clean(), "want sha256:", true},
		{"wrong sha1 beside right sha512", want(0, digest("sha1", nil), sha("sha512")), clean(), "want sha1:", true},
		{"one of two sha512 right", want(0, wrong, sha("sha512")), clean(), "", false},
		{"upper case", want(0, formats.Digest{Alg: "sha1", Hex: strings.ToUpper(sha("sha1").Hex)}), clean(), "", false},
		{"h1 is for Check", want(0, formats.Digest{Alg: formats.GoH1, Hex: "x"}), clean(), "", false},
		{"wrong size", want(fileSize + 1), clean(), "want 300001 bytes", true},
		{"smaller size", want(5), clean(), "want 5 bytes", true},
		{"longer than announced", want(0), fault{cut: -1, total: fileSize - 1}, "want 299999 bytes", true},
		{"longer than Want, total unknown", want(fileSize - 1), fault{cut: -1, noTotal: true}, "want 299999 bytes", true},
		{"total unknown", func(*Plan) {}, fault{cut: -1, noTotal: true}, "", false},
		{"other bytes", func(*Plan) {}, fault{cut: -1, body: content(3, fileSize)}, "sha512", true},
		{"whole", whole(readAll), clean(), "", false},
		{"whole fails", whole(func(formats.File) error { return errReset }), clean(), errReset.Error(), true},
		{"whole panics", whole(func(formats.File) error { panic("boom") }), clean(), "panic in check: boom", true},
		{"whole without Check", whole(nil), clean(), "must be checked", true},
		{"Want fails", func(p *Plan) {
			p.Want = func(context.Context, http.Header) (formats.Want, error) { return formats.Want{}, errReset }
		}, clean(), errReset.Error(), false},
		{"Want panics", func(p *Plan) {
			p.Want = func(context.Context, http.Header) (formats.Want, error) { panic("boom") }
		}, clean(), "panic in want: boom", false},
		{"Open panics", func(p *Plan) {
			p.Open = func(context.Context, int64, string) (*Part, error) { panic("boom") }
		}, clean(), "panic in flight: boom", false},
		{"Open fails", func(p *Plan) {
			p.Open = func(context.Context, int64, string) (*Part, error) { return nil, errReset }
		}, clean(), errReset.Error(), false},
		{"Open gives nothing", func(p *Plan) {
			p.Open = func(context.Context, int64, string) (*Part, error) { return nil, nil }
		}, clean(), "no body", false},
		{"no Open", func(p *Plan) { p.Open = nil }, clean(), "no Open", false},
		{"starts in the middle", func(*Plan) {}, fault{cut: -1, offset: 1}, "starts at byte 1", false},
		{"over MaxSize", func(p *Plan) { p.MaxSize = fileSize - 1 }, clean(), "size limit", false},
		{"over MaxSize, total unknown", func(p *Plan) { p.MaxSize = fileSize - 1; p.Want = nil }, fault{cut: -1, noTotal: true}, "size limit", false},
		{"Want over MaxSize", func(p *Plan) { p.MaxSize = fileSize - 1 }, fault{cut: -1, noTotal: true}, "size limit", false},
		{"MaxSize reached", func(p *Plan) { p.MaxSize = fileSize }, clean(), "", false},
		{"Commit fails", func(p *Plan) { p.Commit = func(*store.Batch, Result) error { return errReset } }, clean(), errReset.Error(), false},
		{"Commit panics", func(p *Plan) { p.Commit = func(*store.Batch, Result) error { panic("boom") } }, clean(), "panic in commit", false},
		{"Inspect panics", func(p *Plan) { p.Inspect = func(context.Context, formats.File, Result) { panic("boom") } }, clean(), "", false},
		{"Commit is nil", func(p *Plan) { p.Commit = nil }, clean(), "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, Config{})
				o := &origin{body: body, step: 50_000, faults: []fault{tc.fault}}
				plan := o.plan()
				plan.Algs = []formats.Alg{formats.SHA512, formats.SHA256, formats.GoH1}
				tc.change(&plan)
				got, res, err := drink(t, k, "key", plan)
				synctest.Wait()
				if (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("error = %v, want one with %q", err, tc.fails)
				}
				if errors.As(err, new(*ErrVerify)) != tc.typed {
					t.Errorf("error %v is a *ErrVerify: %v", err, !tc.typed)
				}
				checkOutcome(t, k, body, tc.fault.body, got, res, err)
				if lost := err != nil; (k.log.lost == 1) != lost || (k.log.done == 1) == lost || (k.log.bad == 1) != tc.typed {
					t.Errorf("events %d lost, %d done, %d bad after %v", k.log.lost, k.log.done, k.log.bad, err)
				}
				if err != nil { // the next Fill starts afresh, and nothing stands in its way
					o.faults = nil
					fresh := o.plan()
					if got, res, err = drink(t, k, "key", fresh); err != nil {
						t.Errorf("after a failed flight: %v", err)
					}
					checkOutcome(t, k, body, nil, got, res, err)
				}
				k.close(o)
			})
		})
	}
}

// Want answers late, with algorithms that nobody was computing, at every byte.
func TestLateWant(t *testing.T) {
	body := content(4, fileSize)
	for at := 0; at <= 10; at++ {
		for _, wrong := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, Config{})
				o := &origin{body: body, step: 30_000, pace: time.Second}
				plan := o.plan()
				plan.Algs = nil
				plan.Want = func(ctx context.Context, h http.Header) (formats.Want, error) {
					time.Sleep(time.Duration(at)*time.Second + time.Second/2)
					w := formats.Want{Digests: []formats.Digest{digest(formats.SHA512, body), digest(formats.MD5, body)}}
					if wrong {
						w.Digests[1] = digest(formats.MD5, nil)
					}
					return w, nil
				}
				got, res, err := drink(t, k, "key", plan)
				if errors.As(err, new(*ErrVerify)) != wrong {
					t.Fatalf("Want after %d reads: error = %v, wrong digest %v", at, err, wrong)
				}
				checkOutcome(t, k, body, nil, got, res, err)
				k.close(o)
			})
		}
	}
}

func TestRetriesEnd(t *testing.T) {
	body := content(5, fileSize)
	for _, tc := range []struct {
		name     string
		retries  int
		faults   []fault
		attempts int
		is       error
	}{
		{"default", 0, repeat(fault{cut: 0, err: errReset}, 20), 6, errReset},
		{"two", 2, repeat(fault{cut: 0, err: errReset}, 20), 3, errReset},
		{"none", -1, repeat(fault{cut: 10, err: errReset}, 20), 1, errReset},
		{"progress counts anew", 2, repeat(fault{cut: 5000, err: errReset}, 50), 51, nil},
		{"a trickle is no progress", 3, repeat(fault{cut: 10, err: errReset}, 50), 4, errReset},
		{"refused", 0, append([]fault{{cut: 10, err: errReset}}, repeat(fault{open: errReset}, 20)...), 6, errReset},
		{"refused for good", 0, []fault{{cut: 10, err: errReset}, {open: Permanent(http.ErrNotSupported)}}, 2, http.ErrNotSupported},
		{"hangs", 1, repeat(fault{cut: 10, hang: true}, 20), 2, errSilent},
		{"hangs once", 1, []fault{{cut: 10, hang: true}}, 2, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, Config{IdleTimeout: time.Minute})
				o := &origin{body: body, validator: `"a"`, faults: tc.faults}
				plan := o.plan()
				plan.Retries = tc.retries
				began := time.Now()
				got, res, err := drink(t, k, "key", plan)
				if !errors.Is(err, tc.is) || tc.is != nil && !errors.As(err, new(*ErrUpstream)) {
					t.Errorf("error = %v, want %v", err, tc.is)
				}
				if o.attempts() != tc.attempts {
					t.Errorf("%d attempts, want %d", o.attempts(), tc.attempts)
				}
				if took := time.Since(began); took > 5*time.Minute {
					t.Errorf("took %v", took)
				}
				checkOutcome(t, k, body, nil, got, res, err)
				k.close(o)
			})
		})
	}
}

func repeat(f fault, n int) []fault {
	out := make([]fault, n)
	for i := range out {
		out[i] = f
	}
	return out
}

// The upstream never answers at all.
func TestOpenHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{IdleTimeout: time.Minute})
		plan := Plan{Open: func(ctx context.Context, _ int64, _ string) (*Part, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		// An impatient client leaves; the flight does not.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Fill(ctx, "key", func() Plan { return plan }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient Fill: %v", err)
		}
		if _, err := k.Fill(t.Context(), "key", func() Plan { t.Error("second flight"); return plan }); !errors.Is(err, errSilent) {
			t.Errorf("Fill of a silent upstream: %v", err)
		}
		k.close()
	})
}

func TestMaxDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKitchen(t, Config{MaxDuration: time.Minute})
		o := &origin{body: content(6, fileSize), step: 1000, pace: time.Second}
		_, _, err := drink(t, k, "key", o.plan())
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, new(*ErrUpstream)) {
			t.Errorf("error = %v", err)
		}
		k.close(o)
	})
}

// What the store does wrong at the commit never harms a client.
func TestStoreFailsAtCommit(t *testing.T) {
	body := content(7, fileSize)
	for _, tc := range []struct {
		name   string
		set    func(*memory)
		kept   bool
		failed bool
	}{
		{"full", func(m *memory) { m.commitErr = store.ErrFull }, false, false},
		{"broken disk", func(m *memory) { m.commitErr = errReset }, false, false},
		{"closed", func(m *memory) { m.commitErr = store.ErrClosed }, false, true},
		{"blob cannot be opened", func(m *memory) { m.openErr = errReset }, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKitchen(t, Config{})
				tc.set(k.mem)
				o := &origin{body: body}
				got, res, err := drink(t, k, "key", o.plan())
				if (err != nil) != tc.failed || res.Kept != tc.kept {
					t.Errorf("error %v, kept %v", err, res.Kept)
				}
				checkOutcome(t, k, body, nil, got, res, err)
				k.close(o)
			})
		})
	}
}
