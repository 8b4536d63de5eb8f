package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// npmAbbreviated is what installers send (npm registry, package metadata).
const npmAbbreviated = "application/vnd.npm.install-v1+json"

// cold: 30 clients ask for one thing that nobody has.
func cold(ctx context.Context, c config, up *upstream, t *table) error {
	const clients = 30
	starters := []struct {
		name string
		run  func() (*peer, error)
	}{
		{"larder", func() (*peer, error) { return larder(c, up, "256MiB") }},
		{"nginx", func() (*peer, error) { return nginx(c, up) }},
		{"verdaccio", func() (*peer, error) { return verdaccio(c, up) }},
	}
	for _, s := range starters {
		p, err := s.run()
		if err != nil {
			if s.name == "larder" {
				return err
			}
			t.add("cold: "+s.name, "not measured: "+err.Error(), "", true)
			continue
		}
		prefix := ""
		if s.name == "larder" {
			prefix = "/npm/main"
		}
		for _, what := range []struct{ label, path, count string }{
			{"32 MiB tarball", "/t-33554432-a/-/t-33554432-a-1.0.0.tgz", "t-33554432-a-1.0.0.tgz"},
			{"3.3 MB packument", "/fat", "/fat"},
		} {
			up.prepare("t-33554432-a")
			up.packument("fat")
			up.reset()
			r, err := rush(p, prefix+what.path, clients)
			if err != nil {
				p.stop()
				return fmt.Errorf("%s: %w", s.name, err)
			}
			gets := up.count("GET /")
			if what.count != "/fat" {
				gets = up.count(what.count)
			}
			figure := fmt.Sprintf("%d upstream GETs, first byte p50 %.0f ms, spread %.1f ms, all done %.2f s",
				gets, ms(r.median()), ms(r.spread()), r.last.Seconds())
			bar := ""
			ok := true
			if s.name == "larder" {
				bar = "1 GET, spread <= 5 ms"
				ok = gets == 1 && r.spread() <= 5*time.Millisecond
			}
			t.add(fmt.Sprintf("cold %s x %d: %s", what.label, clients, s.name), figure, bar, ok)
		}
		p.stop()
	}
	return ctx.Err()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// warm: one thing asked again and again, larder and the peer in turn.
func warm(ctx context.Context, c config, up *upstream, t *table) error {
	up.hurry(true)
	defer up.hurry(false)
	l, err := larder(c, up, "256MiB")
	if err != nil {
		return err
	}
	defer l.stop()
	n, err := nginx(c, up)
	if err != nil {
		return err
	}
	defer n.stop()
	for _, w := range []struct {
		label, path string
		conns       int
	}{
		{"warm 64 KiB tarball", "/t-65536-a/-/t-65536-a-1.0.0.tgz", 16},
		{"warm small packument", "/t-4096-a", 16},
	} {
		r, err := versus(ctx, c, l, n, "/npm/main"+w.path, w.path, w.conns)
		if err != nil {
			return err
		}
		t.add(w.label+": larder / nginx", fmt.Sprintf("%.2fx requests/s (%.0f / %.0f)", r.rate, r.a.perSecond, r.b.perSecond), ">= 0.75x", r.rate >= 0.75)
	}
	b, err := bareServer(c)
	if err != nil {
		return err
	}
	defer b.stop()
	br, err := versus(ctx, c, b, n, "/65536", "/t-65536-a/-/t-65536-a-1.0.0.tgz", 16)
	if err != nil {
		return err
	}
	t.add("yardstick: bare net/http from memory / nginx, 64 KiB", fmt.Sprintf("%.2fx requests/s", br.rate), "", true)
	r, err := versus(ctx, c, l, n, "/npm/main/t-10000000-a/-/t-10000000-a-1.0.0.tgz", "/t-10000000-a/-/t-10000000-a-1.0.0.tgz", 8)
	if err != nil {
		return err
	}
	t.add("warm 10 MB artifact: larder / nginx", fmt.Sprintf("%.2fx bytes/s (%.0f / %.0f MB/s), %.2fx CPU per byte", r.bytes, r.a.bytes/1e6, r.b.bytes/1e6, r.cpu),
		">= 0.9x bytes/s, <= 1.3x CPU", r.bytes >= 0.9 && r.cpu <= 1.3)
	return fat(ctx, c, up, l, t)
}

// fat measures the packument with 1,500 versions as installers ask for it.
func fat(ctx context.Context, c config, up *upstream, l *peer, t *table) error {
	header := []string{"Accept", npmAbbreviated, "Accept-Encoding", "gzip"}
	for range 3 {
		if _, err := get(l.url+"/npm/main/fat", header...); err != nil {
			return err
		}
	}
	a, err := load(ctx, l, "/npm/main/fat", 8, c.seconds, header...)
	if err != nil {
		return err
	}
	v, err := verdaccio(c, up)
	if err != nil {
		t.add("warm fat packument, abbreviated, gzip: larder", fmt.Sprintf("%.0f requests/s; verdaccio not measured: %v", a.perSecond, err), ">= 2,000/s", a.perSecond >= 2000)
		return nil
	}
	defer v.stop()
	for range 3 {
		if _, err := get(v.url+"/fat", header...); err != nil {
			return err
		}
	}
	b, err := load(ctx, v, "/fat", 8, c.seconds, header...)
	if err != nil {
		return err
	}
	small, err := load(ctx, l, "/npm/main/t-4096-a", 16, c.seconds)
	if err != nil {
		return err
	}
	if _, err := get(v.url + "/t-4096-a"); err != nil {
		return err
	}
	smallV, err := load(ctx, v, "/t-4096-a", 16, c.seconds)
	if err != nil {
		return err
	}
	x := a.perSecond / b.perSecond
	t.add("warm fat packument (1,500 versions), abbreviated, gzip", fmt.Sprintf("%.0f requests/s, %.0fx verdaccio (%.1f)", a.perSecond, x, b.perSecond),
		">= 2,000/s or 100x", a.perSecond >= 2000 || x >= 100)
	t.add("warm small packument: larder / verdaccio", fmt.Sprintf("%.0fx (%.0f / %.0f)", small.perSecond/smallV.perSecond, small.perSecond, smallV.perSecond), "", true)
	t.add("memory peak after the warm runs: larder, verdaccio", fmt.Sprintf("%d MiB, %d MiB", l.peak()>>20, v.peak()>>20), "", true)
	return nil
}

// ratio compares two peers over interleaved rounds by the median of pairs.
type ratio struct {
	rate, bytes, cpu float64
	a, b             rates
}

func versus(ctx context.Context, c config, a, b *peer, pathA, pathB string, conns int, header ...string) (ratio, error) {
	var out ratio
	for range 3 {
		if _, err := get(a.url+pathA, header...); err != nil {
			return out, err
		}
		if _, err := get(b.url+pathB, header...); err != nil {
			return out, err
		}
	}
	var rate, bytes, cpu []float64
	for range c.rounds {
		ra, err := load(ctx, a, pathA, conns, c.seconds, header...)
		if err != nil {
			return out, err
		}
		rb, err := load(ctx, b, pathB, conns, c.seconds, header...)
		if err != nil {
			return out, err
		}
		rate = append(rate, ra.perSecond/rb.perSecond)
		bytes = append(bytes, ra.bytes/rb.bytes)
		cpu = append(cpu, (ra.cpu.Seconds()/float64(ra.moved))/(rb.cpu.Seconds()/float64(rb.moved)))
		out.a, out.b = ra, rb
	}
	out.rate, out.bytes, out.cpu = median(rate), median(bytes), median(cpu)
	return out, nil
}

// pypi compares the simple index and a wheel with proxpi.
func pypi(ctx context.Context, c config, up *upstream, t *table) error {
	up.hurry(true)
	defer up.hurry(false)
	if _, err := exec.LookPath(c.proxpi); err != nil {
		t.add("pypi: proxpi", "not measured: "+err.Error(), "", true)
		return nil
	}
	l, err := larder(c, up, "256MiB")
	if err != nil {
		return err
	}
	defer l.stop()
	port := freePort()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	os.Setenv("PROXPI_INDEX_URL", up.url+"/simple/")
	os.Setenv("PROXPI_CACHE_DIR", c.dir+"/proxpi")
	defer os.Unsetenv("PROXPI_INDEX_URL")
	p, err := start(c, "proxpi", "http://"+addr, c.proxpi, "--app", "proxpi.server", "run", "--host", "127.0.0.1", "--port", fmt.Sprint(port))
	if err != nil {
		return err
	}
	defer p.stop()
	up.prepare("t-65536-w")
	probe := &http.Client{Timeout: 15 * time.Second}
	if resp, err := probe.Get(p.url + "/index/t-65536-w/"); err != nil {
		t.add("pypi: proxpi", "not measured: "+err.Error(), "", true)
		return nil
	} else {
		resp.Body.Close()
	}
	for _, w := range []struct{ label, a, b string }{
		{"warm simple index: larder / proxpi", "/pypi/main/simple/t-65536-w/", "/index/t-65536-w/"},
	} {
		// One connection: the development server that proxpi runs on stops
		// answering when several are kept alive.
		r, err := versus(ctx, c, l, p, w.a, w.b, 1, "Accept", "text/html, */*;q=0.1")
		if err != nil {
			t.add(w.label, "not measured: "+err.Error(), "", true)
			continue
		}
		t.add(w.label, fmt.Sprintf("%.1fx requests/s (%.0f / %.0f)", r.rate, r.a.perSecond, r.b.perSecond), "", true)
	}
	return nil
}

// giant: one artifact larger than memory, cold, and what the process took.
func giant(ctx context.Context, c config, up *upstream, t *table) error {
	const memory = 64
	up.prepare("giant")
	l, err := larder(c, up, fmt.Sprintf("%dMiB", memory))
	if err != nil {
		return err
	}
	defer l.stop()
	base := l.peak()
	start := time.Now()
	n, err := get(l.url + "/npm/main/giant/-/giant-1.0.0.tgz")
	if err != nil {
		return err
	}
	took := time.Since(start)
	if n != up.giant {
		return fmt.Errorf("got %d bytes, want %d", n, up.giant)
	}
	const blockCache = 128
	bar := int64(memory+blockCache+64) << 20
	t.add(fmt.Sprintf("cold %.0f GiB artifact, memory of the process", float64(up.giant)/(1<<30)),
		fmt.Sprintf("peak %d MiB (%d MiB idle), %.0f MB/s", l.peak()>>20, base>>20, float64(n)/took.Seconds()/1e6),
		fmt.Sprintf("< %d MiB (hot %d + block cache %d + 64)", bar>>20, memory, blockCache), l.peak() < bar)
	return nil
}

// ingest: many objects that nobody has, through the whole path.
func ingest(ctx context.Context, c config, up *upstream, t *table) error {
	up.hurry(true)
	defer up.hurry(false)
	const workers = 4
	for _, s := range []struct {
		label string
		size  int64
		count int
	}{{"5 KB", 5000, 2000}, {"600 KB", 600_000, 300}, {"6 MB", 6_000_000, 60}} {
		names := make([]string, s.count)
		for i := range names {
			names[i] = fmt.Sprintf("t-%d-%d", s.size, i)
		}
		up.prepare(names...)
		l, err := larder(c, up, "64MiB")
		if err != nil {
			return err
		}
		// The listings come first, so that the artifacts alone are measured.
		if _, err := fetchAll(l, names, workers, func(n string) string { return "/npm/main/" + n }); err != nil {
			l.stop()
			return err
		}
		before := l.cpu()
		took, err := fetchAll(l, names, workers, func(n string) string { return "/npm/main/" + n + "/-/" + n + "-1.0.0.tgz" })
		cpu := l.cpu() - before
		l.stop()
		if err != nil {
			return err
		}
		whole := float64(s.size) * float64(s.count) / took.Seconds()
		mine := selfCPU()
		raw, files, err := rawIngest(c, s.size, s.count, workers)
		if err != nil {
			return err
		}
		mine = selfCPU() - mine
		t.add("durable ingest of "+s.label+" through the whole path", fmt.Sprintf("%.2fx of the same layout written raw, %.2fx of plain files (%.1f / %.1f / %.1f MB/s); the node used %.0f%% of both processors, raw and files %.0f ms CPU", whole/raw, whole/files, whole/1e6, raw/1e6, files/1e6,
			100*cpu.Seconds()/took.Seconds()/2, ms(mine)),
			">= 0.8x of raw", whole/raw >= 0.8)
	}
	return ctx.Err()
}

func fetchAll(p *peer, names []string, workers int, path func(string) string) (time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, DisableCompression: true}}
	defer client.CloseIdleConnections()
	work := make(chan string)
	errs := make(chan error, workers)
	var wg sync.WaitGroup
	start := time.Now()
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range work {
				resp, err := client.Get(p.url + path(n))
				if err == nil {
					_, err = discardAll(resp.Body)
					resp.Body.Close()
					if err == nil && resp.StatusCode != http.StatusOK {
						err = fmt.Errorf("%s: %s", path(n), resp.Status)
					}
				}
				if err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		}()
	}
	for _, n := range names {
		work <- n
	}
	close(work)
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return time.Since(start), nil
	}
}
