package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"larder/cache/catalog"
	"larder/cache/store"
)

// problemsShown bounds the list of a store's problems; their number is always
// told.
const problemsShown = 50

// cmdStore looks after the store of a node that is not running. What it does
// stands on standard error, what it finds on standard output; it returns 0 only
// if nothing is wrong.
func cmdStore(ctx context.Context, args []string, std stdio) int {
	verbs := []string{"check", "stats", "scrub", "gc"}
	works := map[string]func(context.Context, *store.DB, stdio) (bool, error){
		"check": storeCheck, "stats": storeStats, "scrub": storeScrub, "gc": storeGC,
	}
	if len(args) == 0 || works[args[0]] == nil {
		hint := ""
		if len(args) > 0 {
			hint = fmt.Sprintf(": unknown verb %q%s", args[0], didYouMean(args[0], verbs))
		}
		fmt.Fprintf(std.err, "larder store%s\nusage: larder store check|stats|scrub|gc [--data DIR]\n"+
			"  check  read every index entry, row reference and byte; change nothing\n"+
			"  stats  print counts and sizes\n"+
			"  scrub  as check, and drop what is corrupt so that it is fetched again\n"+
			"  gc     remove what nothing refers to and give space back\n", hint)
		return exitUsage
	}
	flagSet := flags("store "+args[0], std)
	data := flagSet.String("data", DefaultConfig().Data, "data directory of the node")
	if code, ok := parseFlags(flagSet, args[1:], 0); !ok {
		return code
	}
	ok, err := withStore(*data, std, func(db *store.DB) (bool, error) { return works[args[0]](ctx, db, std) })
	if err != nil {
		fmt.Fprintf(std.err, "larder store %s: %s\n", args[0], err)
		return exitWrong
	}
	if !ok {
		return exitWrong
	}
	return exitOK
}

// withStore opens the store below a data directory, which must be there
// already: a wrong directory must not look like a healthy empty store.
func withStore(data string, std stdio, work func(*store.DB) (bool, error)) (ok bool, err error) {
	dir := storeDir(data)
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return false, fmt.Errorf("there is no store in %s; give the node's data directory with --data", data)
	} else if err != nil {
		return false, err
	}
	db, err := store.Open(store.Config{Dir: dir, OnEvent: func(e store.Event) {
		fmt.Fprintf(std.err, "%s %x %d bytes %s\n", e.Kind, e.Sum[:6], e.Bytes, e.Detail)
	}})
	if err != nil {
		return false, fmt.Errorf("%w (is a node running on it?)", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// The catalog owns the rows that must go together with a blob.
	if _, err := catalog.New(catalog.Config{Store: db, Domain: DefaultConfig().Domain}); err != nil {
		return false, err
	}
	return work(db)
}

func storeCheck(ctx context.Context, db *store.DB, std stdio) (bool, error) {
	p := newProgressLine(std.err)
	report, err := db.Check(ctx, p.show)
	p.end()
	printReport(std.out, report)
	return report.OK(), err
}

func storeScrub(ctx context.Context, db *store.DB, std stdio) (bool, error) {
	p := newProgressLine(std.err)
	report, err := db.Scrub(ctx, 0, p.show)
	p.end()
	printReport(std.out, report)
	return report.OK(), err
}

func storeGC(ctx context.Context, db *store.DB, std stdio) (bool, error) {
	p := newProgressLine(std.err)
	report, err := db.GC(ctx, p.show)
	p.end()
	printReport(std.out, report)
	fmt.Fprintf(std.out, "removed %d, freed %s\n", report.Removed, bytesText(report.Freed))
	return report.OK(), err
}

func printReport(w io.Writer, r store.Report) {
	for i, p := range r.Problems {
		if i == problemsShown {
			fmt.Fprintf(w, "... and %d more\n", len(r.Problems)-i)
			break
		}
		fmt.Fprintf(w, "wrong: %x %s\n", p.Sum, p.Detail)
	}
	verdict := "OK"
	if !r.OK() {
		verdict = fmt.Sprintf("%d problems", len(r.Problems))
	}
	fmt.Fprintf(w, "%s: %d blobs, %s, %d rows, %d ledger entries\n", verdict, r.Blobs, bytesText(r.Bytes), r.Rows, r.Ledger)
}

func storeStats(ctx context.Context, db *store.DB, std stdio) (bool, error) {
	rows := int64(0) // Stats counts them in the background, which is too late here
	if err := db.Rows(nil, nil, func(_, _ []byte) error { rows++; return ctx.Err() }); err != nil {
		return false, err
	}
	s := db.Stats()
	tw := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	for _, line := range []struct {
		key   string
		value any
	}{
		{"blobs", s.Blobs},
		{"blobs inline", fmt.Sprintf("%d, %s", s.InlineBlobs, bytesText(s.InlineBytes))},
		{"blobs large", fmt.Sprintf("%d, %s", s.LargeBlobs, bytesText(s.LargeBytes))},
		{"blobs missing", s.MissingBlobs},
		{"blobs pinned", s.PinnedBlobs},
		{"rows", rows},
		{"ledger sequence", s.LedgerSeq},
		{"disk used", bytesText(s.DiskUsed)},
		{"disk free", fmt.Sprintf("%s of %s", bytesText(s.DiskFree), bytesText(s.DiskTotal))},
		{"tables", fmt.Sprintf("%d, %s", s.Pebble.Tables, bytesText(s.Pebble.TableBytes))},
		{"log", bytesText(s.Pebble.WALBytes)},
	} {
		fmt.Fprintf(tw, "%s\t%v\n", line.key, line.value)
	}
	if err := tw.Flush(); err != nil {
		return false, err
	}
	if s.Full {
		fmt.Fprintf(std.out, "full: %s\n", s.FullReason)
	}
	return true, nil
}

// progressLine shows how far a long work has come: on a terminal in one line
// that is written over, elsewhere now and then in a line of its own.
type progressLine struct {
	w        io.Writer
	terminal bool
	last     time.Time
}

func newProgressLine(w io.Writer) *progressLine {
	p := &progressLine{w: w, last: time.Now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progressLine) show(at store.Progress) {
	every, before, after := 5*time.Second, "", "\n"
	if p.terminal {
		every, before, after = 250*time.Millisecond, "\r\x1b[K", ""
	}
	now := time.Now()
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	total := ""
	if at.Total > 0 {
		total = fmt.Sprintf(" of %d (%d %%)", at.Total, at.Done*100/at.Total)
	}
	fmt.Fprintf(p.w, "%s%s: %d%s, %s%s", before, at.Phase, at.Done, total, bytesText(at.Bytes), after)
}

func (p *progressLine) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// bytesText renders a number of bytes for people: "1.5 GiB".
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, u := float64(n)/1024, 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[u])
}
